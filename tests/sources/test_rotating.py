"""Turns against NumPy's."""

import numpy as np
import pytest
import torch

from didact.errors import DataError
from didact.sources import TURNS, rotations


def test_square_images_are_rotated():
    x = torch.arange(18.0).view(1, 2, 3, 3)
    for quarter, image in enumerate(rotations(x)):
        assert np.array_equal(image.numpy(), np.rot90(x[0].numpy(), quarter, (1, 2)))


@pytest.mark.parametrize("shape", [(2, 8), (2, 6), (2, 1, 3, 8)])
def test_other_inputs_are_rolled_by_quarters(shape):
    x = torch.arange(float(np.prod(shape))).view(shape)
    found = rotations(x).view(TURNS, *shape)
    for quarter in range(TURNS):
        assert np.array_equal(found[quarter].numpy(), np.roll(x.numpy(), quarter * shape[-1] // 4, -1))


def test_inputs_without_four_turns_are_refused():
    with pytest.raises(DataError, match=r"shape \[3\].*at least 4 columns"):
        rotations(torch.zeros(2, 3))
