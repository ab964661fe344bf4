"""Running averages of predictions by example."""

import numpy as np
import pytest
import torch

from didact.errors import ConfigError
from didact.memory import Predictions


def test_it_is_an_exponential_average_of_each_row_alone():
    memory = Predictions(4, 3, decay=0.7)
    drawn = torch.Generator().manual_seed(0)
    expected = np.zeros((4, 3))
    for rows in ([0, 2], [2, 1], [2, 0]):
        probs = torch.rand(2, 3, generator=drawn).softmax(-1)
        found = memory.update(torch.tensor(rows), probs)
        for row, new in zip(rows, probs.numpy(), strict=True):
            expected[row] = 0.7 * expected[row] + 0.3 * new
        np.testing.assert_allclose(found.numpy(), expected[rows], rtol=1e-5)
    assert memory.seen.tolist() == [True, True, True, False]
    np.testing.assert_allclose(memory.average.sum(1).numpy(), [1 - 0.7**2, 1 - 0.7, 1 - 0.7**3, 0], rtol=1e-5)
    np.testing.assert_allclose(
        memory.probs()[:3].numpy(), (expected / expected.sum(1, keepdims=True).clip(1e-9))[:3], rtol=1e-5
    )
    assert memory.probs()[3].tolist() == pytest.approx([1 / 3] * 3)


def test_no_decay_of_one():
    with pytest.raises(ConfigError, match="decay is 1"):
        Predictions(4, 3, decay=1.0)
