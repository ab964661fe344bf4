"""The edges between student, teacher, label and mean, one by one."""

import numpy as np
import pytest
import torch

from didact.losses.combining import trilateral_edges


def test_the_edges_are_differences():
    rng = np.random.default_rng(0)
    student, teacher, means = (rng.dirichlet(np.ones(3), n) for n in (2, 2, 3))
    found = trilateral_edges(*(torch.from_numpy(a).float() for a in (student, teacher)), torch.tensor([2, 0]),
                             torch.from_numpy(means).float())  # fmt: skip
    for b, y in enumerate([2, 0]):
        s, t, g, m = student[b], teacher[b], np.eye(3)[y], means[y]
        assert found[b].numpy() == pytest.approx(np.concatenate([t - s, g - s, g - t, m - s, g - m]), abs=1e-6)


def test_no_gradient_flows_through_the_edges():
    student = torch.full((1, 2), 0.5, requires_grad=True)
    assert not trilateral_edges(student, student, torch.tensor([0]), torch.eye(2)).requires_grad
