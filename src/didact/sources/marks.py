"""Columns that say how rows are split: groups, times, and splits themselves."""

from collections.abc import Callable, Sequence
from datetime import UTC
from typing import Any

import torch
from torch import Tensor

from didact import hashing
from didact.errors import DataError, nearest
from didact.sources.request import Request

SPLITS = {
    **dict.fromkeys(("train", "training"), 0),
    **dict.fromkeys(("validation", "val", "valid", "dev"), 1),
    **dict.fromkeys(("test", "testing"), 2),
}
"""The words of a split column in any case, with the number of the split."""

FILE = " split "
"""The column of rows from several files with the number of their split; -1 where it is to be decided."""

Cells = Sequence[str]
"""N cells of a column as text, empty where one is missing."""


def groups_of(cells: Cells, column: str) -> Tensor:
    """Hash the groups that rows belong to, int64 [N].

    Raises:
        DataError: a cell is empty.
    """
    _refuse_empty(cells, column, "group_column", "every row needs its group")
    return hashing.of_strings(cells)


def times_of(cells: Cells, column: str) -> Tensor:
    """Read numbers (float64 [N]) or dates such as 2021-12-31 or 2021-12-31T23:59 (int64 [N], microseconds).

    Raises:
        DataError: a cell is empty, or is neither.
    """
    _refuse_empty(cells, column, "time_column", "every row needs its time")
    try:
        times = torch.tensor([float(cell) for cell in cells], dtype=torch.float64)
    except ValueError:
        return _dates(cells, column)
    if not bool(times.isfinite().all()):
        row = int((~times.isfinite()).nonzero()[0])
        raise DataError(f"The time_column {column!r} is {cells[row]!r} in row {row + 1}; correct it.")
    return times


def _dates(cells: Cells, column: str) -> Tensor:
    from datetime import datetime

    start, found = datetime(1970, 1, 1, tzinfo=UTC), list[int]()
    for row, cell in enumerate(cells, 1):
        try:
            moment = datetime.fromisoformat(cell.strip())
        except ValueError:
            raise DataError(
                f"The time_column {column!r} is {cell!r:.50} in row {row}, which is neither a number nor a date such "
                "as 2021-12-31; correct it, or name another column."
            ) from None
        since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - start
        found.append((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds)
    return torch.tensor(found)


def splits_of(cells: Cells, column: str) -> Tensor:
    """Read which split each row belongs to, int64 [N]: 0 for training, 1 for validation, 2 for test.

    Raises:
        DataError: a cell is another word than those of `SPLITS`.
    """
    numbers = [SPLITS.get(cell.strip().lower()) for cell in cells]
    if None in numbers:
        row = numbers.index(None)
        raise DataError(
            f"The split_column {column!r} is {cells[row]!r:.50} in row {row + 1}; it must be train, validation or test."
        )
    return torch.tensor([number for number in numbers if number is not None])


def mark_rows(cells_of: Callable[[str, str], Cells], request: Request) -> dict[str, Tensor]:
    """The tensors `group`, `time` and `split` of the columns that a request names; see `sources.split`.

    Args:
        cells_of: gives the cells of a column, by the field that names it and its name.
        request: the options of `sources.load`.

    Raises:
        DataError: a column is missing, or cannot be used.
    """
    readers = {"group": groups_of, "time": times_of, "split": splits_of}
    named = {mark: column for mark in readers if (column := getattr(request, f"{mark}_column")) is not None}
    return {mark: readers[mark](cells_of(f"{mark}_column", column), column) for mark, column in named.items()}


def take_marks(frame: Any, request: Request, name: str) -> tuple[Any, dict[str, Tensor]]:
    """A data frame without the columns that say how rows are split, and their tensors."""
    names = [str(column) for column in frame.columns]

    def cells_of(field: str, column: str) -> Cells:
        if column not in names:
            raise DataError(f"{name} has no column {column!r} for {field}. {nearest(column, names)}")
        return text_of(frame[column])

    found = mark_rows(cells_of, request)
    if FILE in names:
        found["split"] = torch.tensor(frame[FILE].to_numpy())
    used = [FILE, *(getattr(request, f"{mark}_column") for mark in ("group", "time", "split"))]
    return frame.drop(columns=[column for column in used if column in names and column != request.id_column]), found


def _refuse_empty(cells: Cells, column: str, field: str, why: str) -> None:
    if (empty := [row for row, cell in enumerate(cells, 1) if not cell.strip()]) != []:
        raise DataError(f"The {field} {column!r} is empty in {len(empty)} rows, first in row {empty[0]}; {why}.")


def text_of(column: Any) -> list[str]:
    """The cells of a pandas column as text, empty where one is missing; whole numbers have no fraction."""
    return ["" if cell is None else _text(cell) for cell in column.astype(object).where(column.notna(), None)]


def _text(cell: object) -> str:
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)
