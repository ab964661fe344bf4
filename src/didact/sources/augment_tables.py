"""Rows of a table with other rows' cells, for whole batches.

A cell is all that its column has become in `x`: the one-hot places of a category change together.
"""

import torch
from torch import Tensor

from didact.preprocessing import TablePreprocessing
from didact.types import Examples

CORRUPTED = 0.6
"""The share of a row's cells that `corrupt` replaces, the best of Bahri et al. (2022)."""
MIXED = 0.3
"""The chance of each cell to be the other row's in `cutmix`, that of Somepalli et al. (2021)."""


def owners(examples: Examples) -> Tensor:
    """Which cell each number of an input belongs to, counted from 0; int64 [F], F the numbers of one input."""
    if not isinstance(examples.preprocessing, TablePreprocessing):
        return torch.arange(examples.tensors["x"][0].numel())
    widths = torch.tensor([column.width for column in examples.preprocessing.columns if column.width])
    return torch.arange(len(widths)).repeat_interleave(widths)


def corrupt(x: Tensor, pool: Tensor, owner: Tensor, generator: torch.Generator) -> Tensor:
    """Replace 60% of each row's cells by those of rows drawn for each cell: SCARF's random feature corruption.

    Bahri, Jiang, Tay & Metzler (2022), "SCARF: Self-supervised contrastive learning using random feature corruption":
    the same number of cells of every row, and values from the column's empirical distribution.

    Args:
        x: float [B, ...].
        pool: float [N, ...], the rows whose cells are drawn.
        owner: int64 [F], from `owners`.
        generator: on the device of `x`.

    Returns:
        As `x`.
    """
    cells = int(owner[-1]) + 1
    chance = torch.rand(len(x), cells, generator=generator, device=x.device)
    replaced = chance <= chance.kthvalue(max(int(CORRUPTED * cells), 1), 1, keepdim=True)[0]
    row = torch.randint(len(pool), (len(x), cells), generator=generator, device=x.device)
    others = pool.flatten(1)[row[:, owner], torch.arange(len(owner), device=x.device)]
    return torch.where(replaced[:, owner], others, x.flatten(1)).view_as(x)


def cutmix(x: Tensor, owner: Tensor, generator: torch.Generator) -> Tensor:
    """Take each cell of a row, with a chance of 30%, from one other row of the batch.

    Somepalli et al. (2021), "SAINT: Improved neural networks for tabular data via row attention and contrastive
    pre-training", after Yun et al. (2019).

    Args:
        x: float [B, ...]; with a single row, nothing changes.
        owner: int64 [F], from `owners`.
        generator: on the device of `x`.

    Returns:
        As `x`.
    """
    other = torch.randperm(len(x), generator=generator, device=x.device)
    chance = torch.rand(len(x), int(owner[-1]) + 1, generator=generator, device=x.device)
    flat = x.flatten(1)
    return torch.where((chance < MIXED)[:, owner], flat[other], flat).view_as(x)
