"""The bank of embeddings where rows move, and where they stand for other examples."""

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
        rows = np.random.default_rng(step).choice(50, 8, replace=False)
        new = unit(step, 8, 3)
        for i, row in zip(rows, new, strict=True):
            mixed = 0.9 * slow[i] + 0.1 * row if i in slow else row
            slow[i] = mixed / np.linalg.norm(mixed)
        found = bank.move(torch.tensor(rows), torch.tensor(new).float().requires_grad_())
        assert not found.requires_grad
        assert found.numpy() == pytest.approx(np.array([slow[i] for i in rows]), abs=1e-5)
    assert sorted(slow) == bank.seen.nonzero()[:, 0].tolist()
    for i, row in slow.items():
        assert bank.embedding[i].numpy() == pytest.approx(row, abs=1e-5)


def test_all_rows_but_ones_own_and_empty_ones_are_others():
    bank = EmbeddingBank(5, 2)
    bank.move(torch.tensor([0, 2, 4]), torch.tensor(unit(1, 3, 2)).float())
    found, left_out = bank.others(torch.tensor([2, 4]), 5)
    assert found.tolist() == [0, 1, 2, 3, 4]
    assert left_out.tolist() == [[False, True, True, True, False], [False, True, False, True, True]]


def test_some_of_many_are_drawn_evenly_from_those_that_hold_something():
    bank, filled = EmbeddingBank(100, 2), torch.arange(0, 100, 7)
    bank.move(filled, torch.tensor(unit(1, len(filled), 2)).float())
    counts = np.zeros(100)
    for _ in range(300):
        found, left_out = bank.others(torch.tensor([7, 14]), 20)
        assert torch.equal(left_out, found == torch.tensor([[7], [14]]))
        counts += found.bincount(minlength=100).numpy()
    assert set(counts.nonzero()[0]) == set(filled.tolist())
    # 6000 draws, each with a chance of 1/15; four deviations are allowed.
    assert counts[filled.numpy()] == pytest.approx(np.full(15, 400.0), abs=4 * (6000 / 15 * 14 / 15) ** 0.5)


def test_momenta_that_cannot_work():
    with pytest.raises(ConfigError, match=r"momentum is -0\.5"):
        EmbeddingBank(5, 3, momentum=-0.5)
    with pytest.raises(ConfigError, match="momentum is 1"):
        EmbeddingBank(10, 2, momentum=1.0)
