"""What each column of a table is: decided by its cells, unless the user says."""

import re
from collections.abc import Iterable, Iterator
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
        roles = self.roles()
        for name in {name for _, name in roles}:
            if len(found := [role for role, other in roles if other == name]) > 1:
                raise ConfigError(f"The column {name!r} is named by {' and '.join(found)}; name it once.")

    def roles(self) -> list[tuple[str, str]]:
        """Pairs of a role and a column that has it."""
        return [(role, name) for role in ("drop", "categorical", "numeric", "date") for name in getattr(self, role)]

    def check(self, names: Iterable[str]) -> None:
        """Raise `DataError` unless all columns that are named are there."""
        names = list(names)
        if absent := [f"{name!r} for {role}" for role, name in self.roles() if name not in names]:
            raise DataError(f"There is no column {', '.join(absent)}. {nearest(absent[0].split(chr(39))[1], names)}")


_FORCED: dict[str, Kind] = {"drop": "dropped", "categorical": "category", "numeric": "number", "date": "date"}


@dataclass(frozen=True)
class Kinds:
    """What the columns are, and what is wrong with them."""

    kinds: dict[str, tuple[Kind, str]] = field(default_factory=dict)
    """By column what it is, and why where it is dropped."""
    complaints: tuple[str, ...] = ()
    """Sentences, each about one column."""

    def of(self, kind: Kind) -> list[str]:
        """The columns of a kind."""
        return [name for name, (found, _) in self.kinds.items() if found == kind]


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
    """
    options = options or TableOptions()
    forced = {name: _FORCED[role] for role, name in options.roles()}
    kinds: dict[str, tuple[Kind, str]] = {}
    complaints: list[str] = []
    for name in columns:
        column, kind = columns[name], forced.get(name)
        try:
            kinds[name] = (kind, "you said so") if kind else _guess(name, column, options.missing)
            complaints += _complaints(column, kinds[name][0], options.missing, name)
        except DataError as error:
            complaints.append(f"The column {name!r} cannot be used: {error}, or leave it out with drop (--drop).")
    return Kinds(kinds, tuple(complaints))


def _guess(name: str, column: Column, missing: tuple[str, ...]) -> tuple[Kind, str]:
    if cells.is_numeric(column):
        return _number_or_id(name, column)
    if getattr(column.dtype, "kind", "O") == "M":
        return "date", ""
    codes, words = cells.words_of(column, missing)
    if not words:
        return "dropped", "it has no value in any row"
    if hasattr(column.dtype, "categories"):
        return "category", ""
    counts = np.bincount(codes[codes >= 0], minlength=len(words))
    # Without words that mean "missing", unless there are no others.
    counts = np.where([word in cells.MARKS for word in words], 0, counts) if set(words) - cells.MARKS else counts
    half = counts.sum() / 2
    if counts[[cells.number_of(word) is not None for word in words]].sum() > half:
        codes_there = any(map(cells.is_code, words))
        return ("category", "") if codes_there else ("number", "")
    if counts[[not np.isnat(cells.date_of(word)) for word in words]].sum() > half:
        return "date", ""
    return _category_or_text(words, counts)


def _number_or_id(name: str, column: Column) -> tuple[Kind, str]:
    if column.dtype.kind in "iu" and _ID.fullmatch(name):
        numbers, _ = cells.numbers_of(column)
        if len(numbers) > 2 and len(np.unique(numbers)) == len(numbers):
            return "dropped", "it is a different number in every row, and is called an id"
    return "number", ""


def _category_or_text(words: list[str], counts: np.ndarray) -> tuple[Kind, str]:
    rows = int(counts.sum())
    length = sum(len(word.split()) * int(count) for word, count in zip(words, counts, strict=True))
    if length >= _PROSE * rows and len(words) > min(_MANY, rows / 2):
        return "text", ""
    if len(words) > 2 and counts.max() == 1:
        return "dropped", "it is a different word in every row, such as a name or an id"
    return "category", ""


def _complaints(column: Column, kind: Kind, missing: tuple[str, ...], name: str) -> Iterator[str]:
    """What is wrong with the cells of a column, for what it is."""
    if kind == "number":
        numbers, bad = cells.numbers_of(column, missing)
        too_large = np.abs(np.nan_to_num(numbers, nan=0.0)) > FLOAT32
        if too_large.any():
            yield (
                f"The column {name!r} is not finite as a 32-bit number in {int(too_large.sum())} cells "
                f"({shown(column, too_large)}); correct them, or leave them empty."
            )
    elif kind == "date":
        _, bad = cells.dates_of(column, missing)
    else:
        return
    if bad.any():
        remedy = "write dates as 2021-12-31" if kind == "date" else "correct them"
        yield (
            f"The column {name!r} holds {kind}s, but {int(bad.sum())} of its {len(bad)} cells hold something else "
            f"({shown(column, bad)}); {remedy}, leave them empty, name words that mean a missing value with missing "
            "(--missing), or say what the column is with categorical (--categorical) or drop (--drop)."
        )
