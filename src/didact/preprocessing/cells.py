"""The cells of a column: which are missing, what the others say as numbers, dates or words, and so what the column is.

A column is a numpy array or a pandas Series of any type. What counts as missing is decided here, and nowhere else: an
empty cell, None and NaN always; the marks that the user names always; and `MARKS` in columns of numbers and dates,
where a word can mean nothing else. Everywhere else `NA` is a word like any other, such as the class North America.
"""

import contextlib
import datetime
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np

from didact.errors import ConfigError, DataError, check_choice, nearest

Column = Any
"""A numpy array, a pandas Series or `Coded`, [N]."""
Frame = Any
"""A pandas data frame."""
Columns = Mapping[str, Column]
"""Columns of one length by name, such as a pandas data frame."""

NUMERIC = "biuf"
"""The kinds of types of numbers and booleans."""
MARKS = frozenset(
    {"NA", "N/A", "n/a", "na", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "Null", "None", "none", "?", "-"}
)
"""Words that mean "missing" in a column of numbers or dates, whether the user names them or not."""
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?")
_NUMERAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_CODE = re.compile(r"0\d+")
_DATE = re.compile(r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?)(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?")
DAY = 86_400
"""Seconds."""
FLOAT32 = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Coded:
    """A column of words, each of which is in memory once."""

    codes: np.ndarray
    """The position of each cell's word, int32 [N]; -1 where it is missing."""
    words: list[str]
    """Each once, in any order; a selection may lack some."""
    dtype: ClassVar[np.dtype] = np.dtype(object)

    def __len__(self) -> int:
        """The number of cells, N."""
        return len(self.codes)

    def __getitem__(self, positions: np.ndarray) -> "Coded":
        """The cells at positions."""
        return Coded(self.codes[positions], self.words)

    def cells(self, missing: object) -> np.ndarray:
        """The words, object [N], with something in the place of those that are missing."""
        return np.array([*self.words, missing], dtype=object)[self.codes]


def coded(column: Column) -> Column:
    """A Series of strings as `Coded`; any other column as it is."""
    if str(column.dtype) not in ("string", "str"):
        return column
    codes, words = column.factorize()
    return Coded(codes.astype(np.int32), list(words))


def words_of(column: Column, missing: Iterable[str] = ()) -> tuple[np.ndarray, list[str]]:
    """A column as words.

    Args:
        column: [N], of any type. Whole numbers are words without a point, dates as ISO 8601 writes them.
        missing: words that count as missing.

    Returns:
        For each cell the position of its word, int64 [N], with -1 where it is missing; and the words, sorted, each
        once.

    Raises:
        DataError: a cell holds a list or an object.
    """
    try:
        if isinstance(column, np.ndarray):
            cells = {cell: None for cell in column.tolist() if cell is not None and cell == cell}
            order = {cell: place for place, cell in enumerate(cells)}
            codes = np.array([order.get(cell, -1) for cell in column.tolist()], dtype=np.int64)
        elif isinstance(column, Coded):
            codes, cells = column.codes, column.words
        elif hasattr(column.dtype, "categories"):
            codes, cells = column.cat.codes.to_numpy(), column.cat.categories
        else:
            codes, cells = column.factorize()
    except TypeError:
        raise DataError("it holds lists or objects; turn them into numbers or words") from None
    absent = {"", *missing}
    named = [word_of(cell) for cell in cells]
    known = sorted({word for word in named if word is not None and word not in absent})
    places = {word: place for place, word in enumerate(known)}
    # The last one is where the code -1 of a missing cell points to.
    lookup = np.array([*(places.get(word, -1) if word is not None else -1 for word in named), -1], dtype=np.int64)
    return lookup[codes], known


def word_of(cell: object) -> str | None:
    """What one cell says; None where it is missing."""
    if cell is None or cell != cell:
        return None
    if isinstance(cell, float | np.floating) and float(cell).is_integer():
        return str(int(cell))
    return cell.isoformat() if isinstance(cell, datetime.date) else str(cell)


def numbers_of(column: Column, missing: Iterable[str] = ()) -> tuple[np.ndarray, np.ndarray]:
    """A column as numbers.

    Args:
        column: [N], of any type. Of words, `1,000.50` is a number, and `01186` is none, as its zero would be lost.
        missing: words, and numerals, that count as missing.

    Returns:
        float64 [N] with NaN where a cell is missing or no number, and bool [N], which ones are no number.
    """
    missing = tuple(missing)
    if column.dtype.kind in NUMERIC:
        numbers = (
            column.astype(np.float64)
            if isinstance(column, np.ndarray)
            else column.to_numpy(dtype=np.float64, na_value=np.nan, copy=True)
        )
        marks = [value for word in missing if (value := number_of(word)) is not None]
        return np.where(np.isin(numbers, marks), np.nan, numbers) if marks else numbers, np.zeros(len(numbers), bool)
    codes, words = words_of(column, missing)
    values = [number_of(word) for word in words]
    bad = [value is None and word not in MARKS for word, value in zip(words, values, strict=True)]
    numbers = np.array([*(np.nan if value is None else value for value in values), np.nan])
    return numbers[codes], np.array([*bad, False])[codes]


def number_of(word: str) -> float | None:
    """The number that a word is; None where it is none, such as `oops`, `inf` or the postcode `01186`."""
    word = word.strip()
    if _THOUSANDS.fullmatch(word):
        return float(word.replace(",", ""))
    return float(word) if _NUMERAL.fullmatch(word) and not is_code(word) else None


def is_code(word: str) -> bool:
    """Whether a word is of digits that begin with a zero, which a number would lose."""
    return _CODE.fullmatch(word.strip()) is not None


def dates_of(column: Column, missing: Iterable[str] = ()) -> tuple[np.ndarray, np.ndarray]:
    """A column as dates: those of the calendar and clock that are written, whatever the time zone.

    Args:
        column: [N], of dates, time stamps, or words such as `2021-03-04` or `2021-03-04T05:06:07Z`.
        missing: words that count as missing.

    Returns:
        datetime64[s] [N] with NaT where a cell is missing or no date, and bool [N], which ones are no date.
    """
    if column.dtype.kind == "M":
        local = column.dt.tz_localize(None) if getattr(column.dtype, "tz", None) is not None else column
        return np.asarray(local).astype("datetime64[s]"), np.zeros(len(column), bool)
    codes, words = words_of(column, missing)
    values = [date_of(word) for word in words]
    bad = [np.isnat(value) and word not in MARKS for word, value in zip(words, values, strict=True)]
    dates = np.array([*values, np.datetime64("NaT", "s")], dtype="datetime64[s]")
    return dates[codes], np.array([*bad, False])[codes]


def date_of(word: str) -> np.datetime64:
    """The date that a word is, to the second; NaT where it is none."""
    match = _DATE.fullmatch(word.strip())
    with contextlib.suppress(ValueError):
        if match:
            return np.datetime64("T".join(filter(None, match.groups())), "s")
    return np.datetime64("NaT", "s")


def shown(column: Column, mask: np.ndarray) -> str:
    """The first cells under a mask, with their rows counted from 1."""
    rows = np.flatnonzero(mask)
    index = getattr(column, "index", None)
    numbers = index if index is not None and index.dtype.kind == "i" else range(len(column))
    first = column[rows[:3]].cells("") if isinstance(column, Coded) else np.asarray(column)[rows[:3]]
    named = [f"row {int(numbers[row]) + 1}: {str(cell)[:40]!r}" for row, cell in zip(rows, first, strict=False)]
    return ", ".join(named) + (", ..." if len(rows) > 3 else "")


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
    forced: dict[str, Kind] = {name: kind for role, kind in _FORCED.items() for name in getattr(options, role)}
    if absent := [name for name in forced if name not in columns]:
        raise DataError(f"There is no column {absent[0]!r}, to which a role is given. {nearest(absent[0], columns)}")
    kinds: dict[str, tuple[Kind, str]] = {}
    complaints: list[str] = []
    for name in columns:
        column = columns[name]
        try:
            if name in forced:
                kinds[name] = (forced[name], "you said so")
            else:
                kinds[name] = _guess(name, column, options.missing)
            kind = kinds[name][0]
            if kind in ("number", "date"):
                read = numbers_of if kind == "number" else dates_of
                values, bad = read(column, options.missing)
                large = np.abs(np.nan_to_num(values)) > FLOAT32 if kind == "number" else np.zeros_like(bad)
                if (bad | large).any():
                    complaints += _complaints(name, column, kind, bad, large)
        except DataError as error:
            complaints.append(f"The column {name!r} cannot be used: {error}, or leave it out with drop (--drop).")
    return Kinds(kinds, tuple(complaints))


def _guess(name: str, column: Column, missing: tuple[str, ...]) -> tuple[Kind, str]:
    if column.dtype.kind in NUMERIC:
        named = column.dtype.kind in "iu" and len(column) > 2 and _ID.fullmatch(name)
        if named and len(np.unique(numbers_of(column)[0])) == len(column):
            return "dropped", "it is a different number in every row, and is called an id"
        return "number", ""
    if column.dtype.kind == "M":
        return "date", ""
    codes, words = words_of(column, missing)
    if not words:
        return "dropped", "it has no value in any row"
    if hasattr(column.dtype, "categories"):
        return "category", ""
    counts = np.bincount(codes[codes >= 0], minlength=len(words))
    # Beside numbers and dates, these words mean "missing".
    said = counts[[word not in MARKS for word in words]].sum()
    if counts[[number_of(word) is not None for word in words]].sum() > said / 2:
        codes_there = any(map(is_code, words))
        return ("category", "") if codes_there else ("number", "")
    if counts[[not np.isnat(date_of(word)) for word in words]].sum() > said / 2:
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
