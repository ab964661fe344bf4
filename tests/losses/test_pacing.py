"""Self-paced weights against the problem that they solve."""

import numpy as np
import pytest
import torch

from didact.losses.combining import self_paced_weights


def test_the_weights_minimise_the_self_paced_objective():
    losses, threshold = np.array([0.0, 0.3, 0.9, 1.4]), 1.0
    grid = np.linspace(0, 1, 10001)
    best = [grid[np.argmin(grid * loss + threshold * (grid**2 / 2 - grid))] for loss in losses]
    assert self_paced_weights(torch.tensor(losses), threshold).numpy() == pytest.approx(best, abs=1e-4)


def test_without_a_threshold_all_count_alike():
    assert self_paced_weights(torch.tensor([0.0, 7.0]), float("inf")).tolist() == [1.0, 1.0]


def test_no_gradient_flows_into_the_pace():
    losses = torch.ones(2, requires_grad=True)
    assert not self_paced_weights(losses, 2.0).requires_grad
