"""Columns that say how rows are split: groups, times, and splits themselves."""

import math
from collections.abc import Callable, Sequence
from datetime import UTC
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from didact import hashing
from didact.errors import DataError, nearest
from didact.preprocessing.cells import Column, words_of
from didact.sources.request import Request

T = TypeVar("T")
SPLITS = {
    **dict.fromkeys(("train", "training"), 0),
    **dict.fromkeys(("validation", "val", "valid", "dev"), 1),
    **dict.fromkeys(("test", "testing"), 2),
}
"""The words of a split column in any case, with the number of the split."""

FILE = " split "
"""The column of rows from several files with the number of their file: 1 for that of the validation, 2 for that of the
test, 3 for that without labels, and -1 for the first, whose split is to be decided."""
UNLABELLED = 3


def groups_of(column: Column, name: str) -> Tensor:
    """Hash the groups that rows belong to, int64 [N].

    Raises:
        DataError: a cell is empty.
    """
    codes, words = _all_words(column, name, "group_column", "every row needs its group")
    return hashing.of_strings(words)[codes]


def times_of(column: Column, name: str) -> Tensor:
    """Read numbers (float64 [N]) or dates such as 2021-12-31 or 2021-12-31T23:59 (int64 [N], microseconds).

    Raises:
        DataError: a cell is empty, or is neither.
    """
    codes, words = _all_words(column, name, "time_column", "every row needs its time")
    subject = f"The time_column {name!r}"
    if all(map(_is_number, words)):
        return torch.tensor(_each(_finite, codes, words, subject, "; correct it"), dtype=torch.float64)[codes]
    remedy = ", which is neither a number nor a date such as 2021-12-31; correct it, or name another column"
    return torch.tensor(_each(_microseconds, codes, words, subject, remedy))[codes]


def splits_of(column: Column, name: str) -> Tensor:
    """Read which split each row belongs to, int64 [N]: 0 for training, 1 for validation, 2 for test.

    Raises:
        DataError: a cell is another word than those of `SPLITS`.
    """
    codes, words = words_of(column)
    # The last one is where the code -1 of an empty cell points to.
    words = [*words, *([""] if (codes < 0).any() else [])]
    remedy = "; it must be train, validation or test"
    found = _each(lambda word: SPLITS.get(word.strip().lower()), codes, words, f"The split_column {name!r}", remedy)
    return torch.tensor(found)[codes]


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _finite(word: str) -> float | None:
    return number if math.isfinite(number := float(word)) else None


def _microseconds(word: str) -> int | None:
    from datetime import datetime

    try:
        moment = datetime.fromisoformat(word.strip())
    except ValueError:
        return None
    since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _all_words(column: Column, name: str, field: str, why: str) -> tuple[np.ndarray, list[str]]:
    """A column as words, see `words_of`, none of which is missing or blank."""
    codes, words = words_of(column)
    empty = np.array([*(not word.strip() for word in words), True])[codes]
    if empty.any():
        raise DataError(
            f"The {field} {name!r} is empty in {int(empty.sum())} rows, first in row {int(empty.argmax()) + 1}; {why}."
        )
    return codes, words


def _each(
    read: Callable[[str], T | None], codes: np.ndarray, words: Sequence[str], subject: str, remedy: str
) -> list[T]:
    """What each word is read as; the first row with one that cannot be read is named."""
    found = [read(word) for word in words]
    if None in found:
        odd = np.array([value is None for value in found])[codes]
        row = int(odd.argmax())
        raise DataError(f"{subject} is {words[codes[row]]!r:.50} in row {row + 1}{remedy}.")
    return [value for value in found if value is not None]


def mark_rows(column_of: Callable[[str, str], Column], request: Request) -> dict[str, Tensor]:
    """The tensors `group`, `time` and `split` of the columns that a request names; see `sources.split`.

    Args:
        column_of: gives a column, by the field that names it and its name.
        request: the options of `sources.load`.

    Raises:
        DataError: a column is missing, or cannot be used.
    """
    readers = {"group": groups_of, "time": times_of, "split": splits_of}
    named = {mark: column for mark in readers if (column := getattr(request, f"{mark}_column")) is not None}
    return {mark: readers[mark](column_of(f"{mark}_column", column), column) for mark, column in named.items()}


def marks_of_files(number: Tensor) -> dict[str, Tensor]:
    """The tensors of examples from several files, by the number of each example's file; see `FILE`.

    Args:
        number: int64 [N].

    Returns:
        `split`; and `domain` where there is a file without labels: 1 for its examples, which are for training, else 0.
    """
    unlabelled = number == UNLABELLED
    split = torch.where(unlabelled, 0, number)
    return {"split": split, **({"domain": unlabelled.long()} if bool(unlabelled.any()) else {})}


def take_marks(frame: Any, request: Request, name: str) -> tuple[Any, dict[str, Tensor]]:
    """A data frame without the columns that say how rows are split, and their tensors."""
    names = [str(column) for column in frame.columns]

    def column_of(field: str, column: str) -> Column:
        if column not in names:
            raise DataError(f"{name} has no column {column!r} for {field}. {nearest(column, names)}")
        return frame[column]

    found = mark_rows(column_of, request)
    if FILE in names:
        found |= marks_of_files(torch.tensor(frame[FILE].to_numpy()))
    used = [FILE, *(getattr(request, f"{mark}_column") for mark in ("group", "time", "split"))]
    return frame.drop(columns=[column for column in used if column in names and column != request.id_column]), found
