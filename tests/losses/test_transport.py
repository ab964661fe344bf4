"""The Sinkhorn plan and distance against slow transcriptions, exact transport, and finite differences."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from didact.errors import ConfigError
from didact.losses.pairs import transport
from didact.losses.pairs.transport import sinkhorn_distance, sinkhorn_plan


def softmax(rows):
    return np.exp(rows - rows.max(-1, keepdims=True)) / np.exp(rows - rows.max(-1, keepdims=True)).sum(
        -1, keepdims=True
    )


def slow(student, teacher, regularisation, iterations, mass=None):
    """The paper's form: the kernel's rows and columns are normalised in turn."""
    size = len(student)
    mass = np.ones(size) if mass is None else mass
    cost = np.array([[np.abs(s - t).sum() for t in teacher] for s in student])
    plan = np.exp(-cost / regularisation)
    for _ in range(iterations):
        plan = plan / plan.sum(1, keepdims=True) * mass[:, None]
        plan = plan / plan.sum(0, keepdims=True) * mass
    return plan, (plan * cost).sum()


def rows(seed, examples, classes, scale=2.0):
    return np.random.default_rng(seed).normal(size=(examples, classes)) * scale


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 9999), st.integers(1, 9), st.integers(2, 6), st.sampled_from([0.05, 0.1, 1.0]), st.integers(1, 30)
)
def test_the_distance_is_that_of_the_normalised_kernel(seed, examples, classes, regularisation, iterations):
    student, teacher = rows(seed, examples, classes), softmax(rows(seed + 1, examples, classes))
    term = sinkhorn_distance(
        torch.tensor(student),
        torch.tensor(teacher),
        temperature=2.0,
        regularisation=regularisation,
        iterations=iterations,
    )
    _, expected = slow(softmax(student / 2.0), teacher, regularisation, iterations)
    assert term.sum.item() == pytest.approx(expected, rel=1e-3, abs=1e-5)
    assert term.count == examples


def test_trust_is_the_mass_of_an_example():
    student, teacher, trust = rows(1, 6, 4), softmax(rows(2, 6, 4)), np.array([1.0, 0.5, 0.25, 1.0, 0.75, 0.1])
    term = sinkhorn_distance(torch.tensor(student), torch.tensor(teacher), trust=torch.tensor(trust))
    _, expected = slow(softmax(student), teacher, 0.1, 20, trust)
    assert term.sum.item() == pytest.approx(expected, rel=1e-3)
    assert float(term.count) == pytest.approx(trust.sum())


def test_an_example_without_trust_takes_no_part():
    student, teacher = torch.tensor(rows(3, 5, 4)).float(), torch.tensor(softmax(rows(4, 5, 4))).float()
    four = sinkhorn_distance(student[:4], teacher[:4]).mean()
    five = sinkhorn_distance(student, teacher, trust=torch.tensor([1.0, 1, 1, 1, 0])).mean()
    assert five.item() == pytest.approx(four.item(), rel=1e-5)
    none = sinkhorn_distance(student.requires_grad_(), teacher, trust=torch.zeros(5))
    none.sum.backward()
    assert none.sum.item() == 0.0
    assert student.grad is not None
    assert bool(student.grad.isfinite().all())


def test_the_plan_tends_to_the_cheapest_permutation():
    cost = torch.tensor(np.random.default_rng(5).random((4, 4))).float()
    plan = sinkhorn_plan(cost, regularisation=0.01, iterations=2000)
    cheapest = min(sum(cost[i, j].item() for i, j in enumerate(order)) for order in itertools.permutations(range(4)))
    assert (plan * cost).sum().item() == pytest.approx(cheapest, abs=0.02)
    assert plan.sum(0).tolist() == pytest.approx([1.0] * 4, rel=1e-5)
    assert plan.sum(1).tolist() == pytest.approx([1.0] * 4, rel=1e-3)


def test_a_kernel_that_underflows_still_gives_a_plan():
    far = torch.full((3, 3), 50.0) + torch.eye(3)
    plan = sinkhorn_plan(far, regularisation=0.1, iterations=5)
    expected = np.exp(-10.0 * np.eye(3))
    assert plan.numpy() == pytest.approx(expected / expected.sum(0), rel=1e-4)


@pytest.mark.parametrize("iterations", [1, 20, 200])
def test_the_smallest_regularisation_stays_finite_when_nothing_overlaps(iterations):
    teacher = torch.zeros(64, 10)
    teacher[:, 0] = 1.0
    student = torch.zeros(64, 10)
    student[:32, 1] = 40.0
    student[32:, 0] = 40.0
    student.requires_grad_()
    term = sinkhorn_distance(student, teacher, regularisation=transport.LEAST_REGULARISATION, iterations=iterations)
    term.sum.backward()
    assert student.grad is not None
    assert term.mean().item() == pytest.approx(1.0, rel=1e-3)
    assert bool(student.grad.isfinite().all())


def test_a_student_that_agrees_is_still_pulled_towards_the_others():
    student = torch.tensor(rows(8, 16, 5)).float().requires_grad_()
    term = sinkhorn_distance(student, student.detach().softmax(-1))
    term.sum.backward()
    assert student.grad is not None
    _, expected = slow(softmax(rows(8, 16, 5)), softmax(rows(8, 16, 5)), 0.1, 20)
    assert term.sum.item() == pytest.approx(expected, rel=1e-3)
    assert expected > 0.01
    assert student.grad.abs().max().item() > 1e-3


def test_answers_in_another_order_cost_nothing():
    teacher = torch.eye(4)
    logits = 40.0 * torch.eye(4)[[2, 0, 3, 1]]
    assert sinkhorn_distance(logits, teacher).sum.item() == pytest.approx(0.0, abs=1e-4)
    assert sinkhorn_distance(logits[:1], teacher[:1]).sum.item() == pytest.approx(2.0, rel=1e-4)


def test_the_gradient_matches_finite_differences():
    student = torch.tensor(rows(6, 4, 3, 1.0)).float().requires_grad_()
    teacher = torch.tensor(softmax(rows(7, 4, 3))).float()
    sinkhorn_distance(student, teacher, iterations=5).sum.backward()
    assert student.grad is not None
    for i, j in [(0, 0), (1, 2), (3, 1)]:
        moved = np.zeros((4, 3))
        moved[i, j] = 1e-5
        at = student.detach().double().numpy()
        up, down = (slow(softmax(at + side * moved), teacher.double().numpy(), 0.1, 5)[1] for side in (1, -1))
        assert student.grad[i, j].item() == pytest.approx((up - down) / 2e-5, rel=1e-2, abs=1e-4)


@pytest.mark.parametrize("options", [{"regularisation": 0.001}, {"iterations": 0}, {"temperature": 0.0}])
def test_nonsense_is_refused(options):
    (field,) = options
    with pytest.raises(ConfigError, match=f"{field} is .*must be"):
        sinkhorn_distance(torch.zeros(2, 3), torch.full((2, 3), 1 / 3), **options)
