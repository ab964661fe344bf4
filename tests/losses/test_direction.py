"""The norm-and-direction loss against its definition and finite differences."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from didact.losses.features.distances import norm_direction


def slow(student, teacher, means):
    total = 0.0
    for s, t, m in zip(student, teacher, means, strict=True):
        along = sum(a * b for a, b in zip(s, m, strict=True)) / math.sqrt(sum(b * b for b in m))
        total += 1.0 - along / max(math.sqrt(sum(a * a for a in s)), math.sqrt(sum(b * b for b in t)))
    return total


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 9999), st.integers(1, 5), st.integers(1, 6), st.floats(0.1, 5.0))
def test_the_longer_of_the_two_norms_divides(seed, examples, width, scale):
    student, teacher, means = np.random.default_rng(seed).normal(size=(3, examples, width)) + 0.1
    student = student * scale
    term = norm_direction(torch.tensor(student), torch.tensor(teacher), torch.tensor(means))
    assert term.sum.item() == pytest.approx(slow(student, teacher, means), rel=1e-4, abs=1e-5)
    assert term.count == examples


def test_the_student_grows_up_to_the_teachers_length_and_then_only_turns():
    mean = torch.tensor([[0.0, 5.0]])
    short = torch.tensor([[0.0, 1.0]], requires_grad=True)
    norm_direction(short, torch.tensor([[3.0, 0.0]]), mean).sum.backward()
    assert short.grad is not None
    assert short.grad[0].tolist() == pytest.approx([0.0, -1 / 3])
    long = torch.tensor([[0.0, 4.0]], requires_grad=True)
    term = norm_direction(long, torch.tensor([[3.0, 0.0]]), mean)
    term.sum.backward()
    assert long.grad is not None
    assert term.sum.item() == pytest.approx(0.0, abs=1e-6)
    assert long.grad[0].tolist() == pytest.approx([0.0, 0.0], abs=1e-6)


def test_the_gradient_matches_finite_differences():
    student, teacher, means = np.random.default_rng(3).normal(size=(3, 4, 3))
    student[:2] *= 5.0
    vectors = torch.tensor(student).float().requires_grad_()
    norm_direction(vectors, torch.tensor(teacher), torch.tensor(means)).sum.backward()
    assert vectors.grad is not None
    for i, j in [(0, 0), (1, 2), (2, 1), (3, 0)]:
        moved = np.zeros((4, 3))
        moved[i, j] = 1e-6
        slope = (slow(student + moved, teacher, means) - slow(student - moved, teacher, means)) / 2e-6
        assert vectors.grad[i, j].item() == pytest.approx(slope, abs=1e-4)


def test_what_is_not_known_costs_one_and_moves_nothing():
    vectors = torch.tensor([[1.0, 2.0], [0.0, 0.0]], requires_grad=True)
    term = norm_direction(vectors, torch.zeros(2, 2), torch.zeros(2, 2), trust=torch.tensor([0.5, 1.0]))
    term.sum.backward()
    assert vectors.grad is not None
    assert (term.sum.item(), float(term.count)) == (1.5, 1.5)
    assert vectors.grad.abs().sum().item() == 0.0
