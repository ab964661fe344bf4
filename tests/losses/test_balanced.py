"""The balanced divergence against a slow transcription, and its gradient against finite differences."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from didact.errors import ConfigError
from didact.losses.classes.divergence import entropy_balanced_kl, forward_kl
from didact.losses.labels.targets import target_log_probs
from didact.types import Logits


def softmax(row, temperature):
    exponentials = [math.exp((v - max(row)) / temperature) for v in row]
    return [e / sum(exponentials) for e in exponentials]


def slow(student, teacher, emphasis, temperature, trust):
    total = 0.0
    for s, t, weight in zip(student, teacher, trust, strict=True):
        q, p = softmax(s, temperature), softmax(t, temperature)
        own, theirs = (-sum(v * math.log(v) for v in one) for one in (q, p))
        forward = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
        reverse = sum(b * math.log(b / a) for a, b in zip(p, q, strict=True))
        share = emphasis if own < theirs else 1 - emphasis
        total += weight * temperature**2 * (share * forward + (1 - share) * reverse)
    return total


def rows(seed, examples, classes):
    return np.random.default_rng(seed).normal(size=(examples, classes)) * 2


def term(student, teacher, **options):
    target = target_log_probs(Logits(logits=teacher), options.get("temperature", 1.0), classes=teacher.shape[1])
    return entropy_balanced_kl(student, target, **options)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 9999), st.integers(1, 6), st.integers(2, 6), st.floats(0, 1), st.floats(0.5, 5), st.booleans())
def test_each_example_gets_the_direction_that_it_calls_for(seed, examples, classes, emphasis, temperature, weighed):
    student, teacher = rows(seed, examples, classes), rows(seed + 1, examples, classes)
    trust = np.random.default_rng(seed).uniform(size=examples) if weighed else np.ones(examples)
    found = term(
        torch.tensor(student),
        torch.tensor(teacher),
        emphasis=emphasis,
        temperature=temperature,
        trust=torch.tensor(trust) if weighed else None,
    )
    assert float(found.count) == pytest.approx(trust.sum(), rel=1e-5)
    assert found.sum.item() == pytest.approx(slow(student, teacher, emphasis, temperature, trust), rel=1e-3, abs=1e-4)


def test_only_the_called_direction_where_emphasis_is_one():
    broad, sharp = torch.tensor([[0.2, 0.0, -0.1]]), torch.tensor([[4.0, 0.0, -1.0]])
    said = target_log_probs(Logits(logits=broad), 1.0, classes=3)
    assert term(sharp, broad, emphasis=1.0).sum.item() == pytest.approx(forward_kl(sharp, said).sum.item(), rel=1e-6)
    assert term(broad, sharp, emphasis=1.0).sum.item() == pytest.approx(
        slow(broad.tolist(), sharp.tolist(), 1.0, 1, [1])
    )


def test_the_gradient_is_that_of_finite_differences():
    student = torch.tensor(rows(3, 5, 4), requires_grad=True)
    teacher = torch.tensor(rows(4, 5, 4), requires_grad=True)
    term(student, teacher, temperature=2.0).sum.backward()
    assert student.grad is not None and teacher.grad is None
    for row, column in ((0, 0), (2, 3), (4, 1)):
        step = np.zeros((5, 4))
        step[row, column] = 1e-4
        up, down = (
            slow(student.detach().numpy() + s * step, teacher.detach().numpy(), 0.75, 2.0, [1] * 5) for s in (1, -1)
        )
        assert student.grad[row, column].item() == pytest.approx((up - down) / 2e-4, rel=1e-3, abs=1e-5)


def test_an_emphasis_out_of_range_is_refused():
    with pytest.raises(ConfigError, match=r"emphasis is 1.5.*at most 1"):
        term(torch.ones(1, 2), torch.ones(1, 2), emphasis=1.5)
