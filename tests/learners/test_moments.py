"""Moments of features against NumPy's."""

import numpy as np
import pytest
import torch

from didact.learners import Moments


@pytest.mark.parametrize("shape", [(6, 5), (6, 3, 5), (6, 5, 2, 4)])
def test_every_batch_counts_alike(shape):
    generator = torch.Generator().manual_seed(1)
    batches = [torch.randn(shape, generator=generator) * 3 + k for k in range(3)]
    moments = Moments(batches[0])
    for batch in batches[1:]:
        moments.accumulate(batch)
    before = moments(batches[0])
    moments.update()
    assert not torch.equal(before, moments(batches[0])), "what is noted must count from the next settle on"
    axes = (0, 2, 3) if len(shape) == 4 else tuple(range(len(shape) - 1))
    every = np.concatenate([batch.double().numpy() for batch in batches])
    expected = (every - every.mean(axes, keepdims=True)) / every.std(axes, keepdims=True)
    np.testing.assert_allclose(moments(batches[2]).numpy(), expected[12:], rtol=1e-4, atol=1e-4)


def test_the_past_fades():
    moments = Moments(torch.zeros(4, 2) + 5.0, kept=0.5)
    moments.accumulate(torch.ones(4, 2))
    moments.update()
    np.testing.assert_allclose(moments.mean.numpy(), (0.5 * 5 * 4 + 4) / (0.5 * 4 + 4), rtol=1e-6)


def test_a_feature_that_never_changes_is_not_blown_up():
    rows = torch.randn(50, 3) * torch.tensor([2.0, 1.0, 0.0]) + 7.0
    spread = Moments(rows).spread.numpy()
    variance = rows.double().numpy().var(0)
    assert spread[2] == pytest.approx(np.sqrt(0.01 * variance.mean()), rel=1e-2)
