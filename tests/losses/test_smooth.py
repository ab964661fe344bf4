"""The smooth L1 distance against a slow transcription, and its gradient against finite differences."""

import numpy as np
import pytest
import torch

from didact.errors import ConfigError
from didact.losses.features.distances import feature_smooth_l1


def slow(student, teacher, trust):
    total = 0.0
    for mine, theirs, weight in zip(student, teacher, trust, strict=True):
        apart = [abs(a - b) for a, b in zip(mine.ravel(), theirs.ravel(), strict=True)]
        total += weight * sum(d * d / 2 if d < 1 else d - 0.5 for d in apart) / len(apart)
    return total


@pytest.mark.parametrize("shape", [(5, 3), (4, 2, 3), (3, 2, 2, 2)])
@pytest.mark.parametrize("weighed", [False, True])
def test_it_is_square_nearby_and_straight_beyond(shape, weighed):
    chance = np.random.default_rng(len(shape))
    student, teacher, trust = chance.normal(size=shape) * 2, chance.normal(size=shape), chance.uniform(size=shape[0])
    term = feature_smooth_l1(
        torch.tensor(student), torch.tensor(teacher), trust=torch.tensor(trust) if weighed else None
    )
    weights = trust if weighed else np.ones(shape[0])
    assert float(term.sum) == pytest.approx(slow(student, teacher, weights), rel=1e-5)
    assert float(term.count) == pytest.approx(weights.sum(), rel=1e-5)


def test_the_gradient_is_that_of_finite_differences():
    chance = np.random.default_rng(8)
    mine, theirs = chance.normal(size=(4, 3)) * 2, chance.normal(size=(4, 3))
    leaf, target = torch.tensor(mine, requires_grad=True), torch.tensor(theirs, requires_grad=True)
    feature_smooth_l1(leaf, target).sum.backward()
    assert target.grad is None and leaf.grad is not None
    for row, column in ((0, 0), (1, 2), (3, 1)):
        step = np.zeros((4, 3))
        step[row, column] = 1e-4
        up, down = (slow(mine + sign * step, theirs, np.ones(4)) for sign in (1, -1))
        assert leaf.grad[row, column].item() == pytest.approx((up - down) / 2e-4, rel=1e-3, abs=1e-5)


def test_other_shapes_are_refused():
    with pytest.raises(ConfigError, match=r"\[2, 3\] and the teacher's \[2, 4\]"):
        feature_smooth_l1(torch.ones(2, 3), torch.ones(2, 4))
