"""Gradients carried by a loss, and gradient surgery, against their definitions."""

import numpy as np
import pytest
import torch

from didact.losses.combining import attach_gradient, project_conflicts


def test_a_value_carries_the_gradients_that_it_is_given():
    tensors = [torch.randn(2, 3, requires_grad=True), torch.randn(4, requires_grad=True)]
    gradients = [torch.arange(6.0).view(2, 3), -torch.arange(4.0)]
    other = torch.tensor(2.0, requires_grad=True)
    value = attach_gradient(other * 3, tensors, gradients)
    assert value.item() == 6.0
    (value * 0.5).backward()
    assert torch.equal(tensors[0].grad, 0.5 * gradients[0])
    assert torch.equal(tensors[1].grad, 0.5 * gradients[1])
    assert other.grad is None


def test_what_points_against_the_kept_gradient_is_taken_out():
    rng = np.random.default_rng(0)
    kept = rng.normal(size=7)
    against = rng.normal(size=7) - 2.0 * kept
    assert against @ kept < 0
    parts = [torch.from_numpy(a) for a in np.split(against, [3])]
    found = np.concatenate(project_conflicts(parts, [torch.from_numpy(k) for k in np.split(kept, [3])]))
    assert found @ kept == pytest.approx(0.0, abs=1e-12)
    assert found == pytest.approx(against - (against @ kept) / (kept @ kept) * kept)


def test_gradients_that_agree_stay_as_they_are():
    first, second = torch.tensor([1.0, 2.0]), torch.tensor([3.0, -1.0])
    assert torch.equal(project_conflicts([first], [second])[0], first)
    assert torch.equal(project_conflicts([first], [torch.zeros(2)])[0], first)


def test_conflicts_of_tiny_gradients_are_taken_out_as_a_whole():
    """What is kept may be of any size: no floor of its square leaves a part of the conflict."""
    generator = torch.Generator().manual_seed(0)
    kept = [torch.randn(5, generator=generator)]
    against = [-kept[0] + 0.3 * torch.randn(5, generator=generator)]
    for unit in (1.0, 1e-8, 1e-12):
        (found,) = project_conflicts([unit * against[0]], [unit * kept[0]])
        assert abs(float((found * kept[0]).sum())) < 1e-5 * unit
    zero = [torch.zeros(5)]
    assert torch.equal(project_conflicts(against, zero)[0], against[0])
