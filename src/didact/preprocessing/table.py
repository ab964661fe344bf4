"""Tables: their columns, fitted on training rows, and the tensor that they become."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from didact.documents import Document
from didact.errors import DataError, nearest
from didact.preprocessing import cells
from didact.preprocessing.cells import Columns
from didact.preprocessing.columns import Category, Date, Dropped, Fitted, Number
from didact.preprocessing.kinds import Kind, Kinds, TableOptions, find_kinds

WIDEST = 10_000_000
"""Columns that `x` may have."""


@dataclass(frozen=True)
class Encoded:
    """Inputs as tensors, and what was odd about them."""

    tensors: Mapping[str, Tensor]
    """`x` float32 [N, ...], or `input_ids` and `attention_mask` int64 [N, T]."""
    unknown: Mapping[str, int] = field(default_factory=dict)
    """By column, how many cells hold a category that was never seen in training, or hardly ever; without zeros."""
    missing: Mapping[str, int] = field(default_factory=dict)
    """By column, how many cells were empty and were filled; without zeros."""


@dataclass(frozen=True)
class TablePreprocessing:
    """What becomes of a table: `x` float32 [N, F], the blocks of the columns one after the other."""

    columns: tuple[Fitted, ...]
    missing: tuple[str, ...] = ()
    """Words and numbers that mean that a value is missing, besides an empty cell."""

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        if len(set(names)) < len(names) or not 0 < self.width <= WIDEST:
            raise ValueError("its columns have no width at all, or far too much, or the same name twice")

    @cached_property
    def width(self) -> int:
        """The columns of `x`, F."""
        return sum(column.width for column in self.columns)

    @property
    def shape(self) -> tuple[int, ...]:
        """That of one input, (F,)."""
        return (self.width,)

    @property
    def used(self) -> tuple[Fitted, ...]:
        """The columns that something is learned from."""
        return tuple(column for column in self.columns if column.width)

    def encode(self, rows: Columns) -> Encoded:
        """Turn rows into numbers.

        Args:
            rows: columns by name; those that are not known are left out.

        Returns:
            `x` and what was unknown or missing.

        Raises:
            DataError: a column is not there, or cells hold something else than the column did in training.
        """
        self.check(rows)
        blocks, unknown, missing = [], {}, {}
        for column in self.used:
            block, unknown[column.name], missing[column.name] = column.encode(rows[column.name], self.missing)
            blocks.append(block)
        x = torch.from_numpy(np.concatenate(blocks, axis=1, dtype=np.float32))
        return Encoded(
            {"x": x},
            {name: count for name, count in unknown.items() if count},
            {name: count for name, count in missing.items() if count},
        )

    def check(self, names: Iterable[str]) -> None:
        """Raise `DataError`, naming them all, unless every column that is used is there."""
        there = list(map(str, names))
        absent = [column.name for column in self.used if column.name not in there]
        if absent:
            raise DataError(
                f"The rows have no column {', '.join(map(repr, absent))}, which the student was taught with. "
                f"{nearest(absent[0], there)}"
            )

    def decode(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """Turn numbers back into rows, as well as that can be done: for rows that were made up.

        Args:
            x: float [N, F].

        Returns:
            By column float64 (NaN where missing), words, or dates, [N].
        """
        starts = np.cumsum([0, *(column.width for column in self.columns)]).tolist()
        return {
            column.name: column.decode(x[:, start : start + column.width])
            for column, start in zip(self.columns, starts, strict=False)
        }

    def describe(self) -> Document:
        """All of it, ready for JSON; `preprocessing.parse` reads it."""
        columns = [{"kind": column.kind, **vars(column)} for column in self.columns]
        return {"kind": "table", "columns": columns, "missing": list(self.missing)}


def fit_table(
    rows: Columns, options: TableOptions | None = None, *, kinds: Kinds | None = None, name: str = "The table"
) -> TablePreprocessing:
    """Fit the preprocessing of a table to its training rows.

    Args:
        rows: the training rows' columns by name, without the target and what names the rows.
        options: what the user says of the columns.
        kinds: what the columns are, where that is known from more rows than these.
        name: of the data, for messages.

    Returns:
        What turns these rows and others into numbers. Columns that are empty, or the same in every row, are dropped.

    Raises:
        DataError: something is wrong with columns, all of which are named; or nothing is left to learn from.
    """
    options = options or TableOptions()
    options.check(rows)
    kinds = kinds or find_kinds(rows, options)
    refuse(kinds.complaints, name)
    columns = tuple(_fit(column, rows, kinds.kinds[column], options) for column in rows)
    if not any(column.width for column in columns):
        reasons = "; ".join(f"{column.name!r}: {column.reason}" for column in columns if isinstance(column, Dropped))
        raise DataError(
            f"{name} has no column to learn from ({reasons or 'there is none beside the target'}); give others, or say "
            "what a column is with categorical, numeric, date or text_column."
        )
    return TablePreprocessing(columns, options.missing)


def refuse(complaints: Iterable[str], name: str) -> None:
    """Raise one `DataError` with all that is wrong, where there is anything."""
    found = list(complaints)
    if len(found) == 1:
        raise DataError(f"{name}: {found[0]}")
    if found:
        listed = "\n".join(f"  {number}. {complaint}" for number, complaint in enumerate(found, 1))
        raise DataError(f"{name} cannot be learned from yet, for {len(found)} reasons:\n{listed}")


def _fit(name: str, rows: Columns, kind: tuple[Kind, str], options: TableOptions) -> Fitted:
    """A column, fitted to training rows; dropped where these have nothing to say of it."""
    column, missing = rows[name], options.missing
    if kind[0] in ("dropped", "text"):
        return Dropped(name=name, reason=kind[1] or "it holds prose, which is not used beside other columns")
    if kind[0] == "category":
        codes, words = cells.words_of(column, missing)
        there = np.unique(codes).tolist()
        alike = _alike(name, there, -1, [words[code] for code in there if code >= 0])
        return alike or Category.fit(name, codes, words)
    if kind[0] == "date":
        dates, _ = cells.dates_of(column, missing)
        there = np.unique(dates).tolist()
        return _alike(name, there, None, [str(date) for date in there if date is not None]) or Date.fit(name, dates)
    numbers, _ = cells.numbers_of(column, missing)
    there = np.unique(numbers)
    words = [str(cells.word_of(number)) for number in there[~np.isnan(there)][:2]]
    alike = _alike(name, there[:2].tolist(), None, words)
    return alike or Number.fit(name, numbers, options.impute)


def _alike(name: str, there: list[object], gap: object, words: list[str]) -> Dropped | None:
    """A column without any value in the training rows, or with the same in all of them."""
    if not words:
        return Dropped(name=name, reason="it has no value in any training row")
    if len(there) == 1:
        return Dropped(name=name, reason=f"it is {words[0]!r} in every training row", value=words[0])
    return None
