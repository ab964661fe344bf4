"""What each column of a table is: decided by its cells, unless the user says."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from didact.errors import ConfigError, DataError, check_choice, nearest
from didact.preprocessing import cells
from didact.preprocessing.cells import Column, Columns
from didact.preprocessing.columns import FLOAT32, shown

Kind = Literal["number", "category", "date", "text", "dropped"]
Impute = Literal["mean", "median", "most_frequent"]
_ID = re.compile(r"(?i)(.*[_ .-])?(id|uuid|guid|key|index)|.*[a-z](Id|ID)")
_PROSE = 3
"""Words in a cell, on average, from which a column of many different texts is prose."""
_MANY = 100
"""Different texts beyond which a column of prose is no column of categories."""


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """What the user says of the columns of a table, and what fills gaps.

    Raises:
        ConfigError: a column has two roles, or `impute` is unknown.
    """

    drop: tuple[str, ...] = ()
    """Columns that are left out."""
    categorical: tuple[str, ...] = ()
    """Columns of categories, whatever they look like."""
    numeric: tuple[str, ...] = ()
    """Columns of numbers."""
    date: tuple[str, ...] = ()
    """Columns of dates."""
    impute: Impute = "median"
    """What stands in for missing numbers."""
    missing: tuple[str, ...] = ()
    """Words and numbers that mean that a value is missing, besides an empty cell."""

    def __post_init__(self) -> None:
        check_choice("impute", self.impute, ("mean", "median", "most_frequent"))
        named = Counter(name for role in _FORCED for name in getattr(self, role))
        for name in (name for name, count in named.items() if count > 1):
            roles = [role for role in _FORCED if name in getattr(self, role)]
            raise ConfigError(f"The column {name!r} is named by {' and '.join(roles)}; name it once.")


_FORCED: dict[str, Kind] = {"drop": "dropped", "categorical": "category", "numeric": "number", "date": "date"}


@dataclass(frozen=True)
class Kinds:
    """What the columns are, and what is wrong with them."""

    kinds: dict[str, tuple[Kind, str]] = field(default_factory=dict)
    """By column what it is, and why where it is dropped."""
    complaints: tuple[str, ...] = ()
    """Sentences, each about one column."""


def find_kinds(columns: Columns, options: TableOptions | None = None) -> Kinds:
    """Decide what each column of a table is.

    Numbers and booleans are numbers. So are words that are mostly numerals; words that are mostly ISO dates are dates;
    other words are categories. Words that are different in every row, whole numbers that are and whose column is
    called an id, and prose beside other columns are left out.

    Args:
        columns: of all rows, so that what is wrong with any is known before anything is fitted.
        options: what the user says.

    Returns:
        The kinds, and what is wrong, all at once.

    Raises:
        DataError: a column that the user names is not there.
    """
    options = options or TableOptions()
    forced = {name: kind for role, kind in _FORCED.items() for name in getattr(options, role)}
    if absent := [name for name in forced if name not in columns]:
        raise DataError(f"There is no column {absent[0]!r}, to which a role is given. {nearest(absent[0], columns)}")
    kinds: dict[str, tuple[Kind, str]] = {}
    complaints: list[str] = []
    for name in columns:
        column, kind = columns[name], forced.get(name)
        try:
            kinds[name] = (kind, "you said so") if kind else _guess(name, column, options.missing)
            kind = kinds[name][0]
            if kind in ("number", "date"):
                read = cells.numbers_of if kind == "number" else cells.dates_of
                values, bad = read(column, options.missing)
                large = np.abs(np.nan_to_num(values)) > FLOAT32 if kind == "number" else np.zeros_like(bad)
                if (bad | large).any():
                    complaints += _complaints(name, column, kind, bad, large)
        except DataError as error:
            complaints.append(f"The column {name!r} cannot be used: {error}, or leave it out with drop (--drop).")
    return Kinds(kinds, tuple(complaints))


def _guess(name: str, column: Column, missing: tuple[str, ...]) -> tuple[Kind, str]:
    if column.dtype.kind in cells.NUMERIC:
        named = column.dtype.kind in "iu" and len(column) > 2 and _ID.fullmatch(name)
        if named and len(np.unique(cells.numbers_of(column)[0])) == len(column):
            return "dropped", "it is a different number in every row, and is called an id"
        return "number", ""
    if column.dtype.kind == "M":
        return "date", ""
    codes, words = cells.words_of(column, missing)
    if not words:
        return "dropped", "it has no value in any row"
    if hasattr(column.dtype, "categories"):
        return "category", ""
    counts = np.bincount(codes[codes >= 0], minlength=len(words))
    # Beside numbers and dates, these words mean "missing".
    said = counts[[word not in cells.MARKS for word in words]].sum()
    if counts[[cells.number_of(word) is not None for word in words]].sum() > said / 2:
        codes_there = any(map(cells.is_code, words))
        return ("category", "") if codes_there else ("number", "")
    if counts[[not np.isnat(cells.date_of(word)) for word in words]].sum() > said / 2:
        return "date", ""
    return _category_or_text(words, counts)


def _category_or_text(words: list[str], counts: np.ndarray) -> tuple[Kind, str]:
    rows = int(counts.sum())
    length = sum(len(word.split()) * int(count) for word, count in zip(words, counts, strict=True))
    if length >= _PROSE * rows and len(words) > min(_MANY, rows / 2):
        return "text", ""
    if len(words) > 2 and counts.max() == 1:
        return "dropped", "it is a different word in every row, such as a name or an id"
    return "category", ""


def _complaints(name: str, column: Column, kind: Kind, bad: np.ndarray, large: np.ndarray) -> Iterator[str]:
    """What is wrong with the cells of a column: those that are not what it holds, and numbers beyond 32-bit floats."""
    if large.any():
        yield (
            f"The column {name!r} is not finite as a 32-bit number in {int(large.sum())} cells "
            f"({shown(column, large)}); correct them, or leave them empty."
        )
    if bad.any():
        remedy = "write dates as 2021-12-31" if kind == "date" else "correct them"
        yield (
            f"The column {name!r} holds {kind}s, but {int(bad.sum())} of its {len(bad)} cells hold something else "
            f"({shown(column, bad)}); {remedy}, leave them empty, name words that mean a missing value with missing "
            "(--missing), or say what the column is with categorical (--categorical) or drop (--drop)."
        )
