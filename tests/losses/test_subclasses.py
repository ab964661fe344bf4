"""The divergence within classes against a slow transcription, and the chain rule that it stands for."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from didact.losses.classes.divergence import forward_kl
from didact.losses.classes.subclasses import subclass_kl, subclass_log_probs
from didact.losses.labels.targets import target_log_probs
from didact.types import Logits


def softmax(rows):
    exponentials = np.exp(rows - rows.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def slow(mine, theirs, classes, trust):
    total = 0.0
    for q, p, weights, share in zip(softmax(mine), softmax(theirs), classes, trust, strict=True):
        for one, other, weight in zip(p, q, weights, strict=True):
            total += share * weight * sum(a * math.log(a / b) for a, b in zip(one, other, strict=True))
    return total


def drawn(seed, examples=4, classes=3, count=2):
    chance = np.random.default_rng(seed)
    shape = (examples, classes, count)
    return chance.normal(size=shape) * 2, chance.normal(size=shape), softmax(chance.normal(size=shape[:2]))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 9999), st.integers(1, 5), st.integers(2, 4), st.integers(2, 4), st.booleans())
def test_each_class_counts_by_its_probability(seed, examples, classes, count, weighed):
    mine, theirs, probs = drawn(seed, examples, classes, count)
    trust = np.random.default_rng(seed).uniform(size=examples) if weighed else np.ones(examples)
    term = subclass_kl(
        torch.tensor(mine),
        torch.tensor(theirs).log_softmax(-1),
        torch.tensor(probs),
        trust=torch.tensor(trust) if weighed else None,
    )
    assert float(term.sum) == pytest.approx(slow(mine, theirs, probs, trust), rel=1e-3, abs=1e-5)
    assert float(term.count) == pytest.approx(trust.sum(), rel=1e-5)


def test_classes_and_subclasses_add_up_to_the_joint_divergence():
    mine, theirs, _ = drawn(5)
    chance = np.random.default_rng(6)
    own, said = chance.normal(size=(4, 3)), chance.normal(size=(4, 3))
    q, p = softmax(own)[..., None] * softmax(mine), softmax(said)[..., None] * softmax(theirs)
    joint = (p * np.log(p / q)).sum()
    classes = forward_kl(torch.tensor(own), target_log_probs(Logits(logits=torch.tensor(said)), 1.0, classes=3)).sum
    inside = subclass_kl(torch.tensor(mine), torch.tensor(theirs).log_softmax(-1), torch.tensor(softmax(said))).sum
    assert float(classes + inside) == pytest.approx(joint, rel=1e-5)


def test_the_gradient_is_that_of_finite_differences():
    mine, theirs, probs = drawn(7)
    leaf = torch.tensor(mine, requires_grad=True)
    subclass_kl(leaf, torch.tensor(theirs).log_softmax(-1), torch.tensor(probs)).sum.backward()
    assert leaf.grad is not None
    for place in ((0, 0, 0), (2, 1, 1), (3, 2, 0)):
        step = np.zeros(mine.shape)
        step[place] = 1e-4
        up, down = (slow(mine + sign * step, theirs, probs, np.ones(4)) for sign in (1, -1))
        assert leaf.grad[place].item() == pytest.approx((up - down) / 2e-4, rel=1e-3, abs=1e-5)


def test_a_low_temperature_splits_hard():
    far = torch.tensor([[[2.0, 0.0], [-1.0, 1.0]]])
    found = subclass_log_probs(far, temperature=0.5).exp().numpy()
    np.testing.assert_allclose(found, softmax(far.numpy() / 0.5), rtol=1e-5)
