"""Tables: their columns, fitted on training rows, and the tensor that they become."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor

from didact import hashing
from didact.documents import Document
from didact.errors import DataError, nearest
from didact.preprocessing import cells
from didact.preprocessing.cells import Column, Columns, Frame, Kinds, TableOptions, find_kinds
from didact.preprocessing.columns import Category, Date, Dropped, Fitted, Number

WIDEST = 10_000_000
"""Columns that `x` may have."""
TILE = 2_048
"""Rows that are written at once, so that they stay in the cache from one column to the next."""


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

    shape: tuple[int, ...] = field(init=False, repr=False)
    """That of one input, (F,)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", (sum(column.width for column in self.columns),))
        names = [column.name for column in self.columns]
        if len(set(names)) < len(names) or not 0 < self.shape[0] <= WIDEST:
            raise ValueError("its columns have no width at all, or far too much, or the same name twice")

    @property
    def quantities(self) -> list[bool]:
        """Which columns of `x` are numbers or years, and not 0 and 1 or angles, [F]."""
        return [
            place == 0 and isinstance(column, Number | Date) for column in self.columns for place in range(column.width)
        ]

    def encodes_as(self, other: "TablePreprocessing") -> bool:
        """Whether rows without unexpected gaps become the same as by other preprocessing."""
        return [_without_fill(column) for column in self.columns] == [_without_fill(column) for column in other.columns]

    def encode(self, rows: Columns) -> Encoded:
        """Turn rows into numbers.

        Args:
            rows: columns by name; those that are not known are left out.

        Returns:
            `x` and what was unknown or missing.

        Raises:
            DataError: a column is not there, or cells hold something else than the column did in training.
        """
        unknown, missing = dict[str, int](), dict[str, int]()
        used = [column for column in self.columns if column.width]
        if absent := [column.name for column in used if column.name not in rows]:
            raise DataError(
                f"The rows have no column {', '.join(map(repr, absent))}, which the student was taught with. "
                f"{nearest(absent[0], map(str, rows))}"
            )
        blocks, start = list[tuple[int, np.ndarray]](), 0
        for column in used:
            block, unknown[column.name], missing[column.name] = column.encode(rows[column.name], self.missing)
            blocks.append((start, block))
            start += column.width
        x = np.zeros((len(blocks[0][1]) if blocks else 0, *self.shape), dtype=np.float32)
        for first in range(0, len(x), TILE):
            tile = x[first : first + TILE]
            flat, rows_of_tile = tile.reshape(-1), np.arange(len(tile)) * x.shape[1]
            for start, block in blocks:
                part = block[first : first + TILE]
                if part.ndim == 2:
                    tile[:, start : start + part.shape[1]] = part
                else:  # the places of ones
                    at = rows_of_tile + start + part
                    flat[at if part.min() >= 0 else at[part >= 0]] = 1
        return Encoded(
            {"x": torch.from_numpy(x)},
            {name: count for name, count in unknown.items() if count},
            {name: count for name, count in missing.items() if count},
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
        columns = []
        for column in self.columns:
            known = {one.name: getattr(column, one.name) for one in fields(column) if one.init}
            lists = {name: list(value) for name, value in known.items() if isinstance(value, tuple)}
            columns.append({"kind": column.kind, **known, **lists})
        return {"kind": "table", "columns": columns, "missing": list(self.missing)}


def _without_fill(column: Fitted) -> Fitted:
    unused = isinstance(column, Number) and not column.marked
    return dataclasses.replace(column, fill=0.0) if unused else column


def plain_table(names: Iterable[str], fills: Iterable[float] | None = None) -> TablePreprocessing:
    """The preprocessing of a table of numbers that are taken as they are.

    Args:
        names: of the columns.
        fills: what stands in for a missing value of each; 0 where None.
    """
    names = tuple(names)
    filled = zip(names, [0.0] * len(names) if fills is None else fills, strict=True)
    return TablePreprocessing(tuple(Number(name=name, fill=float(fill)) for name, fill in filled))


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
    kinds = kinds or find_kinds(rows, options)
    if kinds.complaints:
        refuse(kinds.complaints, name)
    columns, missing = list[Fitted](), options.missing
    for column, (kind, why) in kinds.kinds.items():
        if kind in ("dropped", "text"):
            why = why or "it holds prose, which is not used beside other columns"
            columns.append(Dropped(name=column, reason=why))
        elif kind == "category":
            columns.append(Category.fit(column, *cells.words_of(rows[column], missing)))
        elif kind == "date":
            columns.append(Date.fit(column, cells.dates_of(rows[column], missing)[0]))
        else:
            columns.append(Number.fit(column, cells.numbers_of(rows[column], missing)[0], options.impute))
    if not any(column.width for column in columns):
        reasons = "; ".join(f"{column.name!r}: {column.reason}" for column in columns if isinstance(column, Dropped))
        raise DataError(
            f"{name} has no column to learn from ({reasons or 'there is none beside the target'}); give others, or say "
            "what a column is with categorical, numeric, date or text_column."
        )
    return TablePreprocessing(tuple(columns), missing)


def refuse(complaints: Sequence[str], name: str) -> NoReturn:
    """Raise one `DataError` with all that is wrong."""
    if len(complaints) == 1:
        raise DataError(f"{name}: {complaints[0]}")
    listed = "\n".join(f"  {number}. {complaint}" for number, complaint in enumerate(complaints, 1))
    raise DataError(f"{name} cannot be learned from yet, for {len(complaints)} reasons:\n{listed}")


class Rows(Mapping[str, Column]):
    """The columns of N rows, by name: what a model may learn from, without the target and the ids.

    Selecting rows copies nothing; a column is selected when it is looked at.

    Args:
        table: columns of one length by name.
        kinds: what the columns are.
        options: what the user says of them.
        name: of the data, for messages.
        framed: whether they are a data frame or file, and not the numbered columns of an array.
    """

    def __init__(
        self, table: Mapping[str, Column], kinds: Kinds, options: TableOptions, name: str, *, framed: bool
    ) -> None:
        self._table, self.kinds, self.options, self.name, self.framed = table, kinds, options, name, framed
        self._positions: Tensor | None = None
        self.hashes = hashing.of_columns(_contents(self._table[column]) for column in sorted(self._table))
        """Hashes of the rows' contents, int64 [N]: other rows, and the columns' order and types, change none."""

    def __getitem__(self, name: str) -> Column:
        """One column, [N]."""
        column = self._table[name]
        if self._positions is None:
            return column
        at = self._positions.numpy()
        return column.iloc[at] if hasattr(column, "iloc") else column[at]

    def __contains__(self, name: object) -> bool:
        """Whether there is a column of that name."""
        return name in self._table

    def __iter__(self) -> Iterator[str]:
        """The names of the columns."""
        return iter(self._table)

    def __len__(self) -> int:
        """How many columns there are."""
        return len(self.kinds.kinds)

    @property
    def positions(self) -> Tensor:
        """Where the rows are in the table that was read, int64 [N]."""
        return torch.arange(len(self.hashes)) if self._positions is None else self._positions

    def select(self, positions: Tensor) -> "Rows":
        """The rows at positions, int64 [K]."""
        chosen = object.__new__(Rows)
        chosen.__dict__.update(vars(self))
        chosen.hashes = self.hashes[positions]
        chosen._positions = positions if self._positions is None else self._positions[positions]
        return chosen

    def frame(self, positions: np.ndarray) -> Frame:
        """The rows at positions, int64 [K], as a pandas data frame with the types that `pandas.read_csv` gives."""
        import pandas

        rows, plain = self.select(torch.from_numpy(positions)), dict[str, Column]()
        for name in rows:
            column = rows[name]
            # Models from elsewhere were fitted on types without a mark for missing cells.
            if isinstance(column, cells.Coded):
                plain[name] = column.cells(np.nan)
            elif isinstance(column, np.ndarray) or getattr(column.dtype, "na_value", None) is not pandas.NA:
                plain[name] = column
            elif column.dtype.kind not in "iubf":
                plain[name] = column.astype(object).where(column.notna(), np.nan)
            else:
                plain[name] = column.astype(np.float64 if column.hasnans else column.dtype.numpy_dtype)
        return pandas.DataFrame(plain).reset_index(drop=True)


def _contents(column: Column) -> np.ndarray:
    """The cells as int64 [N]: the bits of a number, or of a numeral, and the hash of a word."""
    if column.dtype.kind in cells.NUMERIC:
        numbers = cells.numbers_of(column)[0] + 0.0
        return np.where(np.isnan(numbers), np.nan, numbers).view(np.int64)
    codes, words = cells.words_of(column)
    values = [np.nan if (value := cells.number_of(word)) is None else value + 0.0 for word in words]
    # The last one is where the code -1 of a missing cell points to; a numeral is the number that it is.
    numbers = np.array([*values, np.nan])
    hashes = np.append(hashing.of_strings(words).numpy(), numbers[-1:].view(np.int64))
    return np.where(np.isnan(numbers), hashes, numbers.view(np.int64))[codes]
