"""The cells of a column: which are missing, and what the others say as numbers, dates or words.

A column is a numpy array or a pandas Series of any type. What counts as missing is decided here, and nowhere else: an
empty cell, None and NaN always; the marks that the user names always; and `MARKS` in columns of numbers and dates,
where a word can mean nothing else. Everywhere else `NA` is a word like any other, such as the class North America.
"""

import datetime
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from didact import hashing
from didact.errors import DataError

Column = Any
"""A numpy array or a pandas Series, [N]."""
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
    try:
        return np.datetime64("T".join(filter(None, match.groups())), "s") if match else np.datetime64("NaT", "s")
    except ValueError:
        return np.datetime64("NaT", "s")


def row_hashes(columns: Columns) -> np.ndarray:
    """Hashes of rows by what is in them: neither other rows nor the columns' order or types change them.

    Args:
        columns: of N rows; 1, 1.0 and the word `1` are the same.

    Returns:
        int64 [N].
    """
    cells = []
    for name in sorted(columns):
        column = columns[name]
        if column.dtype.kind in NUMERIC:
            numbers = numbers_of(column)[0] + 0.0
            cells.append(np.where(np.isnan(numbers), np.nan, numbers).view(np.int64))
            continue
        codes, words = words_of(column)
        hashes = hashing.of_strings(words).numpy()
        values = np.array([np.nan if (value := number_of(word)) is None else value + 0.0 for word in words])
        found = np.where(np.isnan(values), hashes, values.view(np.int64))
        cells.append(np.append(found, np.array(np.nan).view(np.int64))[codes])
    return hashing.of_rows(np.stack(cells, axis=1)).numpy()
