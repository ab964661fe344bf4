"""The kinds of columns that a table has, each fitted on training rows, and what becomes of a cell.

Whatever is done to a cell is a lookup, or arithmetic on a number or a date, so that it can be written as a graph too.
"""

import math
from dataclasses import dataclass, field
from typing import ClassVar, NoReturn

import numpy as np

from didact import hashing
from didact.errors import DataError
from didact.preprocessing import cells
from didact.preprocessing.cells import DAY, Column

MOST = 100
"""Categories that get a 0/1 column of their own; the most frequent ones do."""
BUCKETS = 32
"""The 0/1 columns that further categories share, by a hash of their names."""
RARE = 5_000
"""A category of fewer training rows than one in so many is treated as one that was never seen."""
FAR = 1_024.0
"""Numbers that are so many times farther from 0 than from each other are centred before they become 32-bit floats."""
YEAR = 365.25
"""Days."""


@dataclass(frozen=True, kw_only=True)
class Number:
    """A column of numbers: `float32(value - offset)`, and where training rows had gaps, whether it is missing."""

    kind: ClassVar[str] = "number"
    name: str
    offset: float = 0.0
    """Subtracted in 64 bits; 0 but for numbers far from 0, such as time stamps."""
    fill: float = 0.0
    """The value that stands in for a missing one."""
    marked: bool = False
    """Whether a second column says, as 0 or 1, that the value is missing."""
    width: int = field(init=False, repr=False)
    """How many columns of `x` there are."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.offset) and math.isfinite(self.fill)):
            raise ValueError(f"the column {self.name!r} has an offset or a fill value that is not finite")
        object.__setattr__(self, "width", 1 + self.marked)

    @classmethod
    def fit(cls, name: str, numbers: np.ndarray, impute: str) -> "Number | Dropped":
        """Fit to float64 [N], NaN where missing; `impute` is mean, median or most_frequent."""
        present = numbers[~np.isnan(numbers)]
        gaps = len(present) < len(numbers)
        if not len(present) or (not gaps and present.min() == present.max()):
            return _unused(name, None if gaps else present[0])
        centre, spread = float(present.mean()), float(present.std())
        if impute == "mean" or abs(centre) > FAR / 2 * spread:
            # In order, so that another order of the rows does not change the last digit.
            present.sort()
            centre, spread = float(present.mean()), float(present.std())
        far = spread > 0 and abs(centre) > FAR * spread
        values, counts = np.unique(present, return_counts=True) if impute == "most_frequent" else (present, present)
        fill = {"mean": lambda: centre, "median": lambda: np.median(present)}.get(
            impute, lambda: values[counts.argmax()]
        )
        return cls(name=name, offset=centre if far else 0.0, fill=float(fill()), marked=gaps)

    def encode(self, column: Column, missing: tuple[str, ...]) -> tuple[np.ndarray, int, int]:
        """float32 [N, width]; 0, as no number is unknown; and how many are missing."""
        numbers, bad = cells.numbers_of(column, missing)
        if bad.any():
            refuse_cells(self, column, bad)
        with np.errstate(over="ignore"):
            value = (numbers - self.offset).astype(np.float32)
        gap = ~np.isfinite(value)
        value[gap] = self.fill - self.offset
        block = np.stack((value, gap), axis=1, dtype=np.float32) if self.marked else value[:, None]
        return block, 0, int(gap.sum())

    def decode(self, block: np.ndarray) -> np.ndarray:
        """float64 [N], NaN where missing, of float [N, width]."""
        values = block[:, 0].astype(np.float64) + self.offset
        return np.where(block[:, 1] > 0.5, np.nan, values) if self.marked else values


@dataclass(frozen=True, kw_only=True)
class Category:
    """A column of categories: 1 in the column of `x` that the category is looked up in, 0 in the others.

    The most frequent categories have a column each, further ones share some. Where training rows had rare categories,
    which are not remembered, one column is for all that are unknown; where they had gaps, the last is for missing ones.
    """

    kind: ClassVar[str] = "category"
    name: str
    values: tuple[str, ...]
    """The categories, sorted."""
    places: tuple[int, ...]
    """For each the column of `x`, from 0."""
    width: int
    """How many columns of `x` there are."""
    unknown: int
    """The column of a category that is not among `values`; -1 where it has none, so that all are 0."""
    missing: int
    """The column of a missing cell: its own, or else that of the most frequent category."""

    def __post_init__(self) -> None:
        places = (*self.places, self.missing)
        if len(self.values) != len(self.places) or list(self.values) != sorted(set(self.values)):
            raise ValueError(f"the categories of the column {self.name!r} are not sorted, or not each in one place")
        inside = all(0 <= place < self.width for place in places) and -1 <= self.unknown < self.width
        if not (inside and self.width <= MOST + BUCKETS + 2):
            raise ValueError(f"the column {self.name!r} has categories in columns that are not there")

    @classmethod
    def fit(cls, name: str, codes: np.ndarray, words: list[str]) -> "Category | Dropped":
        """Fit to the positions of words, int64 [N] with -1 where missing."""
        counts = np.bincount(codes[codes >= 0], minlength=len(words))
        if not counts.any() or counts.max() == len(codes):
            return _unused(name, words[counts.argmax()] if counts.any() else None)
        known = np.flatnonzero((counts > 0) & (counts * RARE >= len(codes)))
        if not len(known):
            return Dropped(name=name, reason=f"none of its values is in one of {RARE:,} training rows")
        often = known[np.lexsort((known, -counts[known]))]
        own, sharing = np.sort(often[:MOST]), [words[code] for code in often[MOST:]]
        places = {words[code]: place for place, code in enumerate(own)}
        buckets = hashing.of_strings(sharing).remainder(BUCKETS).tolist() if sharing else []
        places |= {word: len(own) + bucket for word, bucket in zip(sharing, buckets, strict=True)}
        width = len(own) + (BUCKETS if sharing else 0)
        rare, gaps = int(np.count_nonzero(counts)) > len(known), bool((codes < 0).any())
        values = tuple(sorted(places))
        return cls(
            name=name,
            values=values,
            places=tuple(places[value] for value in values),
            width=width + rare + gaps,
            unknown=width if rare else -1,
            missing=width + rare if gaps else places[words[often[0]]],
        )

    def encode(self, column: Column, missing: tuple[str, ...]) -> tuple[np.ndarray, int, int]:
        """Which of the columns is 1, int16 [N], -1 for none; how many are unknown; and how many are missing."""
        codes, words = cells.words_of(column, missing)
        known = dict(zip(self.values, self.places, strict=True))
        # The last one is where the code -1 of a missing cell points to.
        places = np.array([*(known.get(word, self.unknown) for word in words), self.missing], dtype=np.int16)
        absent, *counts = np.bincount(codes + 1, minlength=len(words) + 1).tolist()
        unknown = sum(count for word, count in zip(words, counts, strict=True) if word not in known)
        return places[codes], unknown, absent

    def decode(self, block: np.ndarray) -> np.ndarray:
        """Words [N] of float [N, width]: of those that share a column the first; None where there is none."""
        first = dict(zip(reversed(self.places), reversed(self.values), strict=True))
        names = np.array([*(first.get(place) for place in range(self.width)), None], dtype=object)
        return names[np.where(block.max(1) > 0.5, block.argmax(1), self.width)]


@dataclass(frozen=True, kw_only=True)
class Date:
    """A column of dates: years from `offset`; and month, weekday and, where there is one, the time of day as angles.

    With the day d (from 1970-01-01, with its fraction), the month m from 0, the weekday w from 0 (Monday) and the share
    s of the day, these are (d - offset) / 365.25, and sine and cosine of 2 pi m / 12, 2 pi w / 7 and 2 pi s. All are 0
    where the date is missing, and where training rows had gaps a last column says so. Time zones are not looked at.
    """

    kind: ClassVar[str] = "date"
    name: str
    offset: float = 0.0
    """Days."""
    clock: bool = False
    """Whether the time of day is used."""
    marked: bool = False
    """Whether a last column says, as 0 or 1, that the date is missing."""
    width: int = field(init=False, repr=False)
    """How many columns of `x` there are."""

    def __post_init__(self) -> None:
        if not math.isfinite(self.offset):
            raise ValueError(f"the column {self.name!r} has an offset that is not finite")
        object.__setattr__(self, "width", 5 + 2 * self.clock + self.marked)

    @classmethod
    def fit(cls, name: str, dates: np.ndarray) -> "Date | Dropped":
        """Fit to datetime64[s] [N], NaT where missing."""
        seconds = dates[~np.isnat(dates)].astype(np.int64)
        gaps = len(seconds) < len(dates)
        if not len(seconds) or (not gaps and seconds.min() == seconds.max()):
            return _unused(name, None if gaps else dates[0].astype(object))
        return cls(name=name, offset=float((seconds / DAY).mean()), clock=bool((seconds % DAY).any()), marked=gaps)

    def encode(self, column: Column, missing: tuple[str, ...]) -> tuple[np.ndarray, int, int]:
        """float32 [N, width]; 0, as no date is unknown; and how many are missing."""
        dates, bad = cells.dates_of(column, missing)
        if bad.any():
            refuse_cells(self, column, bad)
        gap = np.isnat(dates)
        dates = np.where(gap, np.datetime64(0, "s"), dates)
        seconds = dates.astype(np.int64)
        days, month = seconds // DAY, dates.astype("datetime64[M]").astype(np.int64) % 12
        turns = [month / 12, (days + 3) % 7 / 7, *([seconds % DAY / DAY] if self.clock else [])]
        angles = [axis(2 * np.pi * turn) for turn in turns for axis in (np.sin, np.cos)]
        parts = np.stack(((seconds / DAY - self.offset) / YEAR, *angles), axis=1)
        parts[gap] = 0
        block = np.concatenate((parts, gap[:, None]), axis=1) if self.marked else parts
        return block.astype(np.float32), 0, int(gap.sum())

    def decode(self, block: np.ndarray) -> np.ndarray:
        """datetime64[s] [N], NaT where missing, of float [N, width]: the nearest date with that time of day."""
        block = block.astype(np.float64)
        share = np.arctan2(block[:, 5], block[:, 6]) / (2 * np.pi) % 1 if self.clock else np.zeros(len(block))
        day = np.round(block[:, 0] * YEAR + self.offset - share)
        dates = (day * DAY + np.round(share * DAY)).astype(np.int64).astype("datetime64[s]")
        return np.where(block[:, -1] > 0.5, np.datetime64("NaT", "s"), dates) if self.marked else dates


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """A column that nothing is learned from."""

    kind: ClassVar[str] = "dropped"
    name: str
    reason: str
    """Why, as the end of a sentence about the column."""
    value: str | None = None
    """What it always was; None where that is not one word."""
    width: ClassVar[int] = 0

    def encode(self, column: Column, missing: tuple[str, ...]) -> tuple[np.ndarray, int, int]:
        """Nothing, float32 [N, 0]."""
        return np.zeros((len(column), 0), dtype=np.float32), 0, 0

    def decode(self, block: np.ndarray) -> np.ndarray:
        """What it always was, or None, [N]."""
        return np.full(len(block), self.value, dtype=object)


def _unused(name: str, value: object) -> Dropped:
    """A column that is empty, or holds the same value in every training row."""
    if value is None:
        return Dropped(name=name, reason="it has no value in any training row")
    word = str(cells.word_of(value))
    return Dropped(name=name, reason=f"it is {word!r} in every training row", value=word)


Fitted = Number | Category | Date | Dropped


def refuse_cells(fitted: Fitted, column: Column, bad: np.ndarray) -> NoReturn:
    """Raise `DataError`, naming the first cells of a column that are not what it holds."""
    raise DataError(
        f"The column {fitted.name!r} holds {fitted.kind}s, but {int(bad.sum())} of its {len(bad)} cells hold something "
        f"else ({cells.shown(column, bad)}); correct them, leave them empty, or say which words mean that a value is "
        "missing (--missing)."
    )
