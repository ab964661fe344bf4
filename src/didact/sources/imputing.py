"""Filling missing values of a table from its training rows."""

import torch
from torch import Tensor

from didact.errors import DataError, check_choice
from didact.sources.request import Impute
from didact.sources.splitting import Splits
from didact.types import Column, Examples


def impute(splits: Splits, how: Impute) -> Splits:
    """Fill the missing values of all splits with what the training split says, and nothing else.

    Args:
        splits: tables that were loaded with `impute`, so that missing values are NaN in `x`.
        how: see `fill_values`.

    Returns:
        The splits without NaN in `x`.

    Raises:
        DataError: a column is empty in the training split.
    """
    values = fill_values(splits.train, how)
    return splits.map(lambda part: fill(part, values))


def fill_values(train: Examples, how: Impute) -> Tensor:
    """What stands in for a missing value of each column.

    Args:
        train: a table; NaN is missing.
        how: `mean`, `median` (the mean of the middle two where their number is even) or `most_frequent` (the smallest
            where several are). A categorical column gets its most frequent category whichever is chosen.

    Returns:
        float32 [F].

    Raises:
        DataError: a column has no value in any training row, or the data are no table.
    """
    check_choice("impute", how, ("mean", "median", "most_frequent"))
    x = train.tensors.get("x")
    if x is None or x.ndim != 2:
        raise DataError(f"impute is {how!r}, but the data are of the kind {train.modality}; only tables are imputed.")
    columns = train.columns or tuple(Column(f"x{i}") for i in range(x.shape[1]))
    blocks = x.split([column.width for column in columns], dim=1)
    return torch.cat([_fill_column(column, block, how) for column, block in zip(columns, blocks, strict=True)])


def _fill_column(column: Column, block: Tensor, how: Impute) -> Tensor:
    present = block[~block[:, 0].isnan()]
    if not len(present):
        raise DataError(f"The column {column.name!r} has no value in any training row to impute from; remove it.")
    if column.categories:
        return torch.nn.functional.one_hot(present.sum(0).argmax(), column.width).float()
    if how == "mean":
        return present.double().mean(0).float()
    if how == "median":
        ordered = present.double().sort(0).values
        return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]).div(2).float()
    values, counts = present.unique(return_counts=True)
    return values[counts.argmax()][None]


def fill(examples: Examples, values: Tensor) -> Examples:
    """Put values in the places of missing ones.

    Args:
        examples: a table [N, F]; NaN is missing.
        values: float32 [F], as `fill_values` gives them.

    Returns:
        The examples without NaN in `x`.
    """
    x = examples.tensors["x"]
    return examples.with_tensors(x=torch.where(x.isnan(), values, x))
