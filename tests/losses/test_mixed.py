"""The loss of mixtures against a slow transcription, and its gradient against finite differences."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from didact.losses.labels.supervised import mixed_cross_entropy
from didact.types import IGNORE


def slow(logits, labels, others, share, trust):
    total = count = 0.0
    for row, first, second, weight in zip(logits, labels, others, trust, strict=True):
        log_sum = math.log(sum(math.exp(v) for v in row))
        for label, part in ((first, share), (second, 1 - share)):
            if label != IGNORE:
                total += weight * part * (log_sum - row[label])
                count += weight * part
    return total, count


def drawn(seed, examples, classes):
    chance = np.random.default_rng(seed)
    labels, others = (np.where(x < 0, IGNORE, x) for x in chance.integers(-1, classes, (2, examples)))
    return chance.normal(size=(examples, classes)) * 2, labels, others, chance.uniform(size=examples)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 9999), st.integers(1, 6), st.integers(2, 6), st.floats(0, 1), st.booleans())
def test_both_labels_count_by_their_share(seed, examples, classes, share, weighed):
    logits, labels, others, trust = drawn(seed, examples, classes)
    given_trust = torch.tensor(trust) if weighed else None
    term = mixed_cross_entropy(
        torch.tensor(logits), torch.tensor(labels), torch.tensor(others), torch.tensor(share), trust=given_trust
    )
    total, count = slow(logits, labels, others, share, trust if weighed else np.ones(examples))
    assert float(term.sum) == pytest.approx(total, rel=1e-4, abs=1e-5)
    assert float(term.count) == pytest.approx(count, rel=1e-4, abs=1e-5)


def test_the_gradient_is_that_of_finite_differences():
    logits, labels, others, trust = drawn(3, 5, 4)
    leaf = torch.tensor(logits, requires_grad=True)
    mixed_cross_entropy(leaf, torch.tensor(labels), torch.tensor(others), 0.3, trust=torch.tensor(trust)).sum.backward()
    for row, column in ((0, 1), (3, 2), (4, 0)):
        step = np.zeros((5, 4))
        step[row, column] = 1e-4
        up, down = (slow(logits + sign * step, labels, others, 0.3, trust)[0] for sign in (1, -1))
        assert leaf.grad is not None
        assert leaf.grad[row, column].item() == pytest.approx((up - down) / 2e-4, rel=1e-3, abs=1e-5)
