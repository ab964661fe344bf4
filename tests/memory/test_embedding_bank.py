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
    bank = EmbeddingBank(50, 3, momentum=0.9)
    slow = bank.embedding.numpy().astype(float)
    for step in range(6):
        rows = np.random.default_rng(step).choice(50, 8, replace=False)
        new = unit(step, 8, 3)
        mixed = 0.9 * slow[rows] + 0.1 * new
        slow[rows] = mixed / np.linalg.norm(mixed, axis=1, keepdims=True)
        bank.move(torch.tensor(rows), torch.tensor(new).float().requires_grad_())
    assert not bank.embedding.requires_grad
    assert bank.embedding.numpy() == pytest.approx(slow, abs=1e-5)


def test_the_first_rows_are_random_and_about_as_long_as_later_ones():
    torch.manual_seed(3)
    bank, again = EmbeddingBank(2000, 12), EmbeddingBank(2000, 12)
    torch.manual_seed(3)
    assert torch.equal(EmbeddingBank(2000, 12).embedding, bank.embedding)
    assert not torch.equal(again.embedding, bank.embedding)
    assert bank.embedding.abs().max() <= (3 / 12) ** 0.5
    # Each of 24,000 squares has the mean 1/12 and the deviation (4/45)^0.5 / 4; four deviations are allowed.
    assert bank.embedding.square().mean() == pytest.approx(1 / 12, abs=4 * (4 / 45) ** 0.5 / 4 / 24000**0.5)
    assert bank.embedding.mean() == pytest.approx(0.0, abs=4 * (1 / 12 / 24000) ** 0.5)


def test_all_rows_but_ones_own_are_others():
    found, left_out = EmbeddingBank(5, 2).others(torch.tensor([2, 4]), 5)
    assert found.tolist() == [0, 1, 2, 3, 4]
    assert left_out.tolist() == [[False, False, True, False, False], [False, False, False, False, True]]


def test_some_of_many_are_drawn_evenly():
    bank, counts = EmbeddingBank(15, 2), np.zeros(15)
    for _ in range(500):
        found, left_out = bank.others(torch.tensor([7, 14]), 12)
        assert torch.equal(left_out, found == torch.tensor([[7], [14]]))
        counts += found.bincount(minlength=15).numpy()
    # 6000 draws, each with a chance of 1/15; four deviations are allowed.
    assert counts == pytest.approx(np.full(15, 400.0), abs=4 * (6000 / 15 * 14 / 15) ** 0.5)


def test_momenta_that_cannot_work():
    with pytest.raises(ConfigError, match=r"momentum is -0\.5"):
        EmbeddingBank(5, 3, momentum=-0.5)
    with pytest.raises(ConfigError, match="momentum is 1"):
        EmbeddingBank(10, 2, momentum=1.0)
