"""Rows of a table that are made up between those that are there, for a teacher to answer.

A student of few rows copies its teacher where these lie, and guesses in between; with rows made up there, it is told
what the teacher would answer. The rule is a relative of MUNGE (Bucilă, Caruana & Niculescu-Mizil, "Model compression",
KDD 2006), which also mixes near rows column by column.
"""

import dataclasses

import torch
from torch import Tensor

from didact import hashing
from didact.errors import ConfigError, DataError
from didact.preprocessing import Number, TablePreprocessing
from didact.types import IGNORE, Examples

RIVALS = 16
"""The rows that are drawn at random for each made-up row, of which the nearest one becomes its partner."""
SHARE = 0.5
"""The chance of each column to come from the partner."""
_AT_ONCE = 1 << 24
"""Numbers that are compared at once."""


def make_up(examples: Examples, count: int, *, seed: int) -> Examples:
    """Make up rows between those of a table.

    For each, a row is drawn, and a partner: of 16 other draws the nearest one, by the squared differences of all
    inputs, each divided by its standard deviation. Every column then stays as it is, or comes from the partner, with
    equal chances. A number that comes from the partner is drawn evenly between both; categories, dates, and numbers
    that are missing in one of the two are taken as they are.

    Args:
        examples: N rows of a table, with inputs `x`.
        count: how many are made up, at least 1.
        seed: the only source of randomness.

    Returns:
        Rows without a label; an id is a hash of the inputs.

    Raises:
        ConfigError: The examples are no table.
        DataError: There are fewer than two.
    """
    known = examples.preprocessing
    if examples.modality != "table" or not isinstance(known, TablePreprocessing):
        raise ConfigError(
            f"Rows are to be made up, but the data {examples.name!r} are no table ({examples.modality}); leave out "
            "made_up."
        )
    if examples.size < 2:
        raise DataError(f"There is {examples.size} row, and rows are made up between two; give more rows.")
    x = examples.tensors["x"]
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(x.shape[0], (count,), generator=generator)
    second = _partners(x, first, generator)
    made = _mixed(x[first], x[second], known, generator)
    label = examples.tensors["label"][first]
    blank = torch.full_like(label, torch.nan if label.is_floating_point() else IGNORE)
    others = {name: tensor[first] for name, tensor in examples.tensors.items()}
    tensors = {**others, "x": made, "label": blank, "id": hashing.of_rows(made)}
    return dataclasses.replace(examples, tensors=tensors, rows=None)


def with_made_up(examples: Examples, share: float, *, seed: int) -> Examples:
    """Examples with made-up ones after them; see `make_up`.

    Args:
        examples: N rows of a table.
        share: how many are made up, as a multiple of N; at least one is.
        seed: the only source of randomness.
    """
    made = make_up(examples, max(1, round(share * examples.size)), seed=seed)
    tensors = {name: torch.cat([tensor, made.tensors[name]]) for name, tensor in examples.tensors.items()}
    return dataclasses.replace(examples, tensors=tensors, rows=None)


def _partners(x: Tensor, first: Tensor, generator: torch.Generator) -> Tensor:
    """For each row the nearest of some others; int64, shaped as `first`."""
    spread = x.std(0, correction=0)
    scaled = (x - x.mean(0)) / torch.where(spread > 0, spread, 1.0)
    # Never the row itself: a step of 1 to N - 1 from it, around the end.
    steps = torch.randint(1, len(x), (len(first), RIVALS), generator=generator)
    rivals = (first[:, None] + steps) % len(x)
    found = []
    for part, own in zip(*(t.split(max(1, _AT_ONCE // (RIVALS * x.shape[1]))) for t in (rivals, first)), strict=True):
        apart = (scaled[part] - scaled[own][:, None]).square().sum(2)
        found.append(part.gather(1, apart.argmin(1, keepdim=True))[:, 0])
    return torch.cat(found)


def _mixed(left: Tensor, right: Tensor, known: TablePreprocessing, generator: torch.Generator) -> Tensor:
    made, start = left.clone(), 0
    for column in known.columns:
        block = slice(start, start + column.width)
        start += column.width
        if not column.width:
            continue
        taken = torch.rand(len(left), generator=generator) < SHARE
        other = right[:, block].clone()
        if isinstance(column, Number):
            there = (left[:, block][:, 1:] + other[:, 1:] == 0).all(1)
            way = torch.rand(len(left), generator=generator)
            other[:, 0] = torch.where(there, torch.lerp(left[:, block.start], other[:, 0], way), other[:, 0])
        made[:, block] = torch.where(taken[:, None], other, left[:, block])
    return made
