"""The relative error of what was read out of a message, against a slow transcription."""

import numpy as np
import pytest
import torch

from didact.losses.features.distances import relative_mse


def arrays():
    generator = np.random.default_rng(3)
    return generator.normal(size=(4, 6)), generator.normal(size=(4, 2, 3)) * np.array([0.01, 1, 5, 100])[:, None, None]


def test_each_example_is_measured_by_its_own_length():
    mine, theirs = arrays()
    trust = np.array([1.0, 0.25, 0.0, 1.0])
    each = [np.sum((m - t.ravel()) ** 2) / np.sum(t**2) for m, t in zip(mine, theirs, strict=True)]
    plain = relative_mse(torch.tensor(mine), torch.tensor(theirs))
    assert (plain.sum.item(), plain.count) == (pytest.approx(sum(each), rel=1e-2), 4)
    weighed = relative_mse(torch.tensor(mine[1:]), torch.tensor(theirs[1:]), trust=torch.tensor(trust[1:]))
    assert weighed.sum.item() == pytest.approx(np.dot(each[1:], trust[1:]), rel=1e-4)
    assert float(weighed.count) == pytest.approx(1.25)


def test_saying_nothing_costs_one():
    _, theirs = arrays()
    assert relative_mse(torch.zeros(4, 6), torch.tensor(theirs)).mean().item() == pytest.approx(1.0, rel=1e-2)


def test_the_gradient_is_of_the_first_alone():
    mine, theirs = (torch.tensor(a[1:]).float().requires_grad_() for a in arrays())
    relative_mse(mine, theirs).sum.backward()
    target = theirs.detach().flatten(1)
    assert theirs.grad is None
    torch.testing.assert_close(mine.grad, 2 * (mine.detach() - target) / target.square().sum(1, keepdim=True))
