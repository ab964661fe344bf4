"""The bank of embeddings where rows are shared and where they move."""

import numpy as np
import pytest
import torch

from didact.errors import ConfigError
from didact.memory import EmbeddingBank


def unit(seed, *shape):
    found = np.random.default_rng(seed).normal(size=shape)
    return found / np.linalg.norm(found, axis=-1, keepdims=True)


def test_rows_are_running_means_on_the_sphere():
    bank, slow = EmbeddingBank(50, 3, momentum=0.9), {}
    for step in range(6):
        ids = np.random.default_rng(step).choice(50, 8, replace=False)
        new = unit(step, 8, 3)
        for i, row in zip(ids, new, strict=True):
            mixed = 0.9 * slow[i] + 0.1 * row if i in slow else row
            slow[i] = mixed / np.linalg.norm(mixed)
        found = bank.put(torch.tensor(ids), torch.tensor(new).float().requires_grad_())
        assert not found.requires_grad
        assert found.numpy() == pytest.approx(np.array([slow[i] for i in ids]), abs=1e-5)
    assert sorted(slow) == bank.filled.nonzero()[:, 0].tolist()
    for i, row in slow.items():
        assert bank.rows[i].numpy() == pytest.approx(row, abs=1e-5)


def test_large_and_negative_ids_find_their_rows_again():
    bank = EmbeddingBank(7, 2, momentum=0.0)
    ids = torch.tensor([-(2**62) + 1, 2**62 - 5, 3])
    bank.put(ids, torch.tensor(unit(1, 3, 2)).float())
    left_out = bank.no_negative(ids)
    assert left_out.shape == (3, 7)
    # Of the three rows that are filled, each example's own is no negative of its.
    assert (~left_out).sum(1).tolist() == [2, 2, 2]


def test_sizes_that_cannot_work():
    with pytest.raises(ConfigError, match="size is 1, but must be at least 2"):
        EmbeddingBank(1, 3)
    with pytest.raises(ConfigError, match=r"momentum is -0\.5"):
        EmbeddingBank(5, 3, momentum=-0.5)
