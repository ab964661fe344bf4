"""The loss on logits against Bernoulli divergences, written out class by class."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from didact.errors import ConfigError
from didact.losses.classes.logits import binary_kl


def rows(seed, examples, classes, scale=3.0):
    return np.random.default_rng(seed).normal(size=(examples, classes)) * scale


def sigmoid(value):
    return 1.0 / (1.0 + math.exp(-value))


def bernoulli_kl(p, q):
    return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))


def slow(student, teacher, temperature, normalised):
    total = 0.0
    for s, t in zip(student.ravel(), teacher.ravel(), strict=True):
        if normalised:
            total += bernoulli_kl(0.5, sigmoid((s - t) / temperature))
        else:
            total += bernoulli_kl(sigmoid(t / temperature), sigmoid(s / temperature))
    return temperature**2 * total


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 9999), st.integers(1, 4), st.integers(1, 5), st.floats(0.5, 5), st.booleans())
def test_each_class_is_a_question_of_its_own(seed, examples, classes, temperature, normalised):
    student, teacher = rows(seed, examples, classes), rows(seed + 1, examples, classes)
    term = binary_kl(torch.tensor(student), torch.tensor(teacher), temperature=temperature, normalised=normalised)
    assert term.sum.item() == pytest.approx(slow(student, teacher, temperature, normalised), rel=1e-3, abs=1e-4)
    assert term.count == examples


def test_trust_weighs_the_examples():
    student, teacher, trust = rows(0, 3, 4), rows(1, 3, 4), [1.0, 0.0, 0.5]
    term = binary_kl(torch.tensor(student), torch.tensor(teacher), trust=torch.tensor(trust))
    expected = sum(w * slow(student[[i]], teacher[[i]], 2.0, True) for i, w in enumerate(trust))
    assert term.sum.item() == pytest.approx(expected, rel=1e-4)
    assert float(term.count) == 1.5


@pytest.mark.parametrize("normalised", [True, False])
def test_the_gradient_matches_finite_differences(normalised):
    student, teacher = rows(2, 3, 4, 1.0), rows(3, 3, 4, 1.0)
    logits = torch.tensor(student).float().requires_grad_()
    binary_kl(logits, torch.tensor(teacher), normalised=normalised).sum.backward()
    assert logits.grad is not None
    for i, j in [(0, 0), (1, 3), (2, 2)]:
        moved = np.zeros((3, 4))
        moved[i, j] = 1e-5
        slope = (
            slow(student + moved, teacher, 2.0, normalised) - slow(student - moved, teacher, 2.0, normalised)
        ) / 2e-5
        assert logits.grad[i, j].item() == pytest.approx(slope, rel=1e-3, abs=1e-5)


def test_a_shift_costs_something_and_extremes_stay_finite():
    logits = torch.tensor(rows(4, 2, 3)).float()
    for normalised in (True, False):
        assert binary_kl(logits, logits, normalised=normalised).sum.item() == pytest.approx(0.0, abs=1e-5)
        assert binary_kl(logits + 1.0, logits, normalised=normalised).sum.item() > 0.1
        far = binary_kl(logits + 1e4, logits, normalised=normalised).sum
        assert bool(far.isfinite())


def test_a_temperature_of_zero_is_refused():
    with pytest.raises(ConfigError, match="temperature is 0"):
        binary_kl(torch.zeros(1, 2), torch.zeros(1, 2), temperature=0.0)
