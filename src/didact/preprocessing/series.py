"""Series: channels of numbers at equal steps, with gaps and of unequal lengths, and the tensor that they become."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from didact import hashing
from didact.documents import Document
from didact.errors import DataError
from didact.preprocessing.table import Encoded
from didact.types import Standardisation

LARGEST = 10_000_000
"""Numbers in one series."""
RESIDUE = 1e-10
"""A standard deviation below this share of the largest number is the rounding of a constant, and counts as 1."""
_AT_ONCE = 2_000_000
"""Numbers that are prepared at once."""


@dataclass(frozen=True, kw_only=True)
class SeriesPreprocessing:
    """Series as `x` float32 [N, channels, length].

    A series that is shorter ends with its last value. Gaps are filled by a straight line between the values beside
    them, those at an end by the nearest value, and a channel without any value by the mean. The result is then scaled.
    """

    length: int
    """Steps of the longest series."""
    means: tuple[float, ...]
    """Of the training rows, one for each channel; 0 where each series is scaled by itself, or none is."""
    stds: tuple[float, ...]
    """Standard deviations likewise; 1 where they are not used."""
    standardise: str
    """See `didact.types.Standardisation`."""
    columns: tuple[str, ...] = ()
    """The columns of a table that are the steps, in their order; empty for arrays."""

    def __post_init__(self) -> None:
        channels = len(self.means)
        if not 0 < channels * max(self.length, 0) <= LARGEST or len(self.stds) != channels or min(self.stds) <= 0:
            raise ValueError(f"its series have {channels} channels of {self.length} steps, which cannot be")
        if self.standardise not in ("channel", "series", "none") or len(self.columns) not in (0, self.length):
            raise ValueError(f"its series are scaled by {self.standardise!r:.20}, with {len(self.columns)} columns")

    @property
    def shape(self) -> tuple[int, ...]:
        """That of one input, (channels, length)."""
        return len(self.means), self.length

    def encode(self, series: np.ndarray) -> Encoded:
        """Turn series into inputs.

        Args:
            series: numbers [N, channels, T], where T is at most `length`; NaN is missing.

        Returns:
            `x`, and by channel how many values were missing before a series ended.

        Raises:
            DataError: they have other channels, are longer, or hold infinite numbers.
        """
        check_finite(series)
        if series.ndim != 3 or series.shape[1] != len(self.means) or series.shape[2] > self.length:
            raise DataError(
                f"The series are {list(series.shape[1:])}, but the student takes {list(self.shape)} (channels, steps); "
                "shorter ones are filled up, but give the same channels, and cut longer ones."
            )
        x, missing = np.empty((len(series), *self.shape), np.float32), np.zeros(len(self.means), np.int64)
        for part in _parts(series):
            values = pad(series[part].astype(np.float64), self.length)
            missing += _gaps(values)
            mean, std = self.unit(values)
            x[part] = np.nan_to_num((fill(values) - mean) / std)
        counted = {f"channel {channel}": int(count) for channel, count in enumerate(missing) if count}
        return Encoded({"x": torch.from_numpy(x)}, missing=counted)

    def unit(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What is subtracted from series, and what they are divided by then.

        Args:
            values: float64 [N, channels, T], NaN where they are missing.

        Returns:
            Both float64, [channels, 1] or, where each series is scaled by itself, [N, channels, 1].
        """
        if self.standardise == "series":
            return _moments(values, (-1,))
        return np.array(self.means)[:, None], np.array(self.stds)[:, None]

    def describe(self) -> Document:
        """All of it, ready for JSON."""
        return {
            "kind": "series",
            **vars(self),
            "means": list(self.means),
            "stds": list(self.stds),
            "columns": list(self.columns),
        }


class SeriesRows:
    """N series as they came, in the order of the examples.

    Args:
        values: numbers [N, channels, T]; NaN is missing, and where series are shorter than others, ends them.
        standardise: how they are to be scaled.
        columns: of a table, the names of the steps.

    Raises:
        DataError: a number is infinite, or none is there.
    """

    def __init__(
        self, values: np.ndarray, standardise: Standardisation = "channel", columns: tuple[str, ...] = ()
    ) -> None:
        check_finite(values)
        if np.isnan(values).all():
            raise DataError("The series hold no value at all; there is nothing to learn from.")
        self.values, self.standardise, self.columns = values, standardise, columns
        ends = lengths(values)
        canonical = np.where(np.isnan(values), np.nan, values.astype(np.float64) + 0.0)
        self.hashes: Tensor = hashing.of_bytes(
            np.ascontiguousarray(row[:, :end]) for row, end in zip(canonical, ends.tolist(), strict=True)
        )
        """Hashes of the rows' contents, int64 [N]; longer series among the others change none."""

    def select(self, positions: Tensor) -> "SeriesRows":
        """The rows at positions, int64 [K]."""
        chosen = object.__new__(SeriesRows)
        chosen.__dict__.update(vars(self))
        chosen.values, chosen.hashes = self.values[positions.numpy()], self.hashes[positions]
        return chosen

    def fit(self) -> SeriesPreprocessing:
        """The preprocessing that has these rows as training rows."""
        channels = self.values.shape[1]
        mean, std = np.zeros(channels), np.ones(channels)
        if self.standardise == "channel":
            mean, std = (part[:, 0] for part in _moments(self.values.astype(np.float64), (0, 2)))
        return SeriesPreprocessing(
            length=self.values.shape[2],
            means=tuple(mean.tolist()),
            stds=tuple(std.tolist()),
            standardise=self.standardise,
            columns=self.columns,
        )

    @property
    def notes(self) -> Iterator[str]:
        """What becomes of unequal lengths and of gaps, as sentences."""
        longest = self.values.shape[2]
        if short := int((lengths(self.values) < longest).sum()):
            yield f"{short:,} series are shorter than {longest} steps; they are filled up with their last value."
        if gaps := int(_gaps(self.values).sum()):
            yield f"{gaps:,} missing values of series are filled by straight lines between the values beside them."


def check_finite(values: np.ndarray) -> None:
    """Raise `DataError` where a number is infinite."""
    if (infinite := np.isinf(values)).any():
        row = int(infinite.reshape(len(values), -1).any(1).argmax())
        raise DataError(f"The series in row {row + 1} holds an infinite number; correct it, or leave it out as NaN.")


def lengths(values: np.ndarray) -> np.ndarray:
    """How many steps each series has before only missing ones follow; int64 [N], of values [N, channels, T]."""
    there = np.logical_not(np.isnan(values).all(axis=1))
    steps = np.where(there, np.arange(1, values.shape[2] + 1), 0)
    return steps.max(axis=1)


def pad(values: np.ndarray, length: int) -> np.ndarray:
    """Series [N, channels, T] as [N, channels, length], with NaN behind their ends."""
    return np.pad(values, ((0, 0), (0, 0), (0, length - values.shape[2])), constant_values=np.nan)


def fill(values: np.ndarray) -> np.ndarray:
    """Fill gaps in float64 [..., T] by linear interpolation, and those at an end by the nearest value.

    A row without any value stays NaN.
    """
    known = ~np.isnan(values)
    if known.all():
        return values
    last, step = values.shape[-1] - 1, np.arange(values.shape[-1])
    before = np.maximum.accumulate(np.where(known, step, -1), axis=-1)
    after = np.minimum.accumulate(np.where(known, step, last + 1)[..., ::-1], axis=-1)[..., ::-1]
    left = np.where(before < 0, after, before).clip(0, last)
    right = np.where(after > last, before, after).clip(0, last)
    start, end = np.take_along_axis(values, left, -1), np.take_along_axis(values, right, -1)
    return start + (end - start) * ((step - left) / np.maximum(right - left, 1))


def _moments(values: np.ndarray, axes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over axes of what is there; 0 and 1 where nothing is or nothing differs."""
    known = ~np.isnan(values)
    count = np.maximum(known.sum(axes, keepdims=True), 1)
    mean = np.where(known, values, 0.0).sum(axes, keepdims=True) / count
    apart = np.where(known, values - mean, 0.0)
    std = np.sqrt((apart**2).sum(axes, keepdims=True) / count)
    largest = np.abs(np.where(known, values, 0.0)).max(axes, keepdims=True)
    std = np.where(std > RESIDUE * largest, std, 1.0)
    return (mean[0], std[0]) if 0 in axes else (mean, std)


def _gaps(values: np.ndarray) -> np.ndarray:
    """By channel, how many values are missing before a series ends; int64 [channels]."""
    inside = np.arange(values.shape[2]) < lengths(values)[:, None, None]
    return (np.isnan(values) & inside).sum((0, 2))


def _parts(series: np.ndarray) -> Iterator[slice]:
    size = max(1, _AT_ONCE // max(1, int(np.prod(series.shape[1:]))))
    return (slice(start, start + size) for start in range(0, len(series), size))
