"""The Plackett-Luce loss against its definition, choice by choice, and what its paper says of it."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from didact.losses.classes.ranking import plackett_luce
from didact.losses.labels.supervised import cross_entropy
from didact.types import IGNORE


def rows(seed, examples, classes, scale=2.0):
    return np.random.default_rng(seed).normal(size=(examples, classes)) * scale


def softmax(row):
    return np.exp(row - row.max()) / np.exp(row - row.max()).sum()


def slow(student, teacher, labels, trust):
    total = 0.0
    for s, t, label, weight in zip(student, teacher, labels, trust, strict=True):
        order = sorted(range(len(s)), key=lambda c: -t[c])
        if label != IGNORE:
            order.remove(label)
            order.insert(0, label)
        said = softmax(t)
        for place, chosen in enumerate(order):
            others = sum(math.exp(s[c] - s[chosen]) for c in order[place + 1 :])
            total += weight * said[chosen] * math.log1p(others)
    return total


def log_probs(teacher):
    return torch.tensor(teacher).float().log_softmax(-1)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 9999), st.integers(1, 5), st.integers(2, 8))
def test_each_choice_is_among_those_left(seed, examples, classes):
    rng = np.random.default_rng(seed)
    student, teacher = rows(seed, examples, classes), rows(seed + 1, examples, classes)
    labels = np.where(rng.random(examples) < 0.3, IGNORE, rng.integers(0, classes, examples))
    trust = rng.random(examples)
    term = plackett_luce(torch.tensor(student), log_probs(teacher), torch.tensor(labels), trust=torch.tensor(trust))
    assert term.sum.item() == pytest.approx(slow(student, teacher, labels, trust), rel=1e-5)
    assert float(term.count) == pytest.approx(trust.sum())


def slow_gradient(student, teacher, label):
    """In float64: each choice pushes down what is left by its share, and pulls up what is chosen by their sum."""
    order = [label, *sorted(set(range(len(student))) - {label}, key=lambda c: -teacher[c])]
    total = np.zeros(len(student))
    for place, chosen in enumerate(order[:-1]):
        pulled = softmax(teacher)[chosen] * softmax(student[order[place:]])[1:]
        total[order[place + 1 :]] += pulled
        total[chosen] -= pulled.sum()
    return total


@pytest.mark.parametrize("gap", [0.0, 5.0, 9.66, 15.0, 30.0, 60.0])
@pytest.mark.parametrize("seed", [3171, *range(10)])
def test_it_is_accurate_where_the_student_is_almost_certain(seed, gap):
    """Of two classes the loss is then softplus of minus the gap: down to 1e-27, where float32 has its seven digits."""
    teacher = rows(seed + 1, 1, 2)[0]
    student = rows(seed, 1, 2).astype(np.float32)
    student[0, 0] = student[0, 1] + np.float32(gap)
    logits = torch.tensor(student).requires_grad_()
    loss = plackett_luce(logits, log_probs(teacher[None]), torch.tensor([0])).sum
    loss.backward()
    apart = float(student[0, 0]) - float(student[0, 1])  # what float32 kept of the gap
    weight = softmax(teacher)[0]
    assert loss.item() == pytest.approx(weight * math.log1p(math.exp(-apart)), rel=1e-5, abs=0)
    assert logits.grad is not None
    slope = weight / (1 + math.exp(apart))
    assert logits.grad[0].tolist() == pytest.approx([-slope, slope], rel=1e-5, abs=0)


@pytest.mark.parametrize("scale", [0.1, 2.0, 8.0, 20.0])
def test_values_and_gradients_are_those_of_float64(scale):
    for seed in range(30):
        classes = 2 + seed % 7
        student = rows(seed, 1, classes, scale).astype(np.float32)
        teacher = rows(seed + 1, 1, classes).astype(np.float32)
        student[0, 0] += np.float32(scale)  # the label's is often far ahead
        logits = torch.tensor(student).requires_grad_()
        loss = plackett_luce(logits, log_probs(teacher), torch.tensor([0])).sum
        loss.backward()
        exact, said = student[0].astype(float), teacher[0].astype(float)
        assert loss.item() == pytest.approx(slow([exact], [said], [0], [1.0]), rel=2e-5, abs=0)
        wanted = slow_gradient(exact, said, 0)
        assert logits.grad is not None
        assert logits.grad[0].numpy() == pytest.approx(wanted, abs=2e-5 * np.abs(wanted).max())


def test_a_certain_teacher_leaves_cross_entropy():
    student, labels = torch.tensor(rows(0, 6, 5)).float(), torch.tensor([0, 1, 2, 3, 4, 0])
    certain = torch.full((6, 5), -100.0).scatter(1, labels[:, None], 0.0)
    found = plackett_luce(student, certain, labels)
    assert found.sum.item() == pytest.approx(cross_entropy(student, labels).sum.item(), rel=1e-5)
    assert found.count == 6


def test_the_gradient_matches_finite_differences():
    student = torch.tensor(rows(1, 3, 4, 1.0)).float().requires_grad_()
    said, labels = log_probs(rows(2, 3, 4)), torch.tensor([2, IGNORE, 0])
    plackett_luce(student, said, labels).sum.backward()
    assert student.grad is not None
    for i, j in [(0, 0), (0, 2), (1, 1), (2, 3)]:
        moved = torch.zeros(3, 4)
        moved[i, j] = 1e-2
        up = plackett_luce(student.detach() + moved, said, labels).sum.double()
        down = plackett_luce(student.detach() - moved, said, labels).sum.double()
        assert student.grad[i, j].item() == pytest.approx(((up - down) / 2e-2).item(), abs=2e-3)


def test_a_shift_changes_nothing_and_the_loss_is_convex():
    one, other = torch.tensor(rows(3, 8, 6)).float(), torch.tensor(rows(4, 8, 6)).float()
    said, labels = log_probs(rows(5, 8, 6)), torch.arange(8) % 6

    def at(logits):
        return plackett_luce(logits, said, labels).sum.item()

    assert at(one + 7.0) == pytest.approx(at(one), rel=1e-5)
    for share in (0.2, 0.5, 0.9):
        assert at(share * one + (1 - share) * other) < share * at(one) + (1 - share) * at(other)


def test_no_gradient_flows_into_the_teacher():
    said = log_probs(rows(6, 2, 3)).requires_grad_()
    plackett_luce(torch.zeros(2, 3, requires_grad=True), said, torch.tensor([0, 1])).sum.backward()
    assert said.grad is None
