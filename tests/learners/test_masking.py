"""Which parts of inputs are hidden, against counts and squares."""

import pytest
import torch

from didact.learners import random_mask


@pytest.mark.parametrize(("share", "count"), [(0.01, 1), (0.5, 3), (0.99, 5)])
def test_equally_many_elements_of_each_row_are_hidden(share, count):
    hidden = random_mask(torch.zeros(7, 6), share)
    assert hidden.shape == (7, 6)
    assert hidden.dtype == torch.bool
    assert hidden.sum(1).tolist() == [count] * 7


def test_squares_are_hidden_in_all_channels():
    hidden = random_mask(torch.zeros(5, 3, 8, 6), 0.5, patch=2)
    squares = hidden.unflatten(2, (4, 2)).unflatten(4, (3, 2)).transpose(3, 4)
    whole = squares.flatten(4)
    assert bool((whole.all(-1) == whole.any(-1)).all())
    assert bool((whole == whole[:, :1]).all())
    assert whole[:, 0, :, :, 0].flatten(1).sum(1).tolist() == [6] * 5


def test_squares_at_the_edge_are_cut():
    hidden = random_mask(torch.zeros(40, 1, 5, 5), 0.2, patch=3)
    assert hidden.shape == (40, 1, 5, 5)
    assert set(hidden.flatten(1).sum(1).tolist()) == {9, 6, 4}


def test_every_part_has_the_same_chance():
    torch.manual_seed(0)
    frequency = random_mask(torch.zeros(20_000, 5), 0.4).float().mean(0)
    assert frequency.tolist() == pytest.approx([0.4] * 5, abs=0.02)
