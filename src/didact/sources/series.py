"""Series: what tells them from images, and the files that people keep them in."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from didact.errors import DataError
from didact.preprocessing.series import pad
from didact.sources import tables
from didact.types import Modality

Array = np.ndarray[Any, Any]
SUFFIXES = (".ts", ".txt", ".tsv")
"""The files that may hold series; see `reads`."""
WIDE = 2
"""The sides of a gray image differ by this factor at most."""
_GAPS = {"": "nan", "?": "nan"}


def modality_of(x: Array, asked: Modality | None, name: str) -> tuple[Modality, tuple[str, ...]]:
    """Decide what an array holds.

    [N, F] is a table, [N, H, W, C] and [N, C, H, W] are images. [N, A, B] are gray images where they are bytes, or
    where A and B differ by a factor of at most 2; all others are series of A channels and B steps.

    Args:
        x: numbers, [N, ...].
        asked: what the user says.
        name: of the data, for messages.

    Returns:
        The decision, and where it could have been another, a sentence about it.

    Raises:
        DataError: the array cannot be what the user says.
    """
    fitting: dict[Modality, tuple[int, ...]] = {"table": (2,), "image": (3, 4), "series": (2, 3)}
    if asked is not None and x.ndim not in fitting.get(asked, ()):
        shapes = {
            "table": "[N, F]",
            "image": "[N, H, W] or [N, C, H, W]",
            "series": "[N, channels, steps] or [N, steps]",
        }
        raise DataError(
            f"{name}: modality is {asked!r}, which has the shape {shapes.get(asked, 'of no array')}, but x is "
            f"{list(x.shape)}."
        )
    if asked is not None or x.ndim != 3:
        return asked or ("table" if x.ndim == 2 else "image"), ()
    sides = x.shape[1:]
    gray = x.dtype == np.uint8 or max(sides) <= WIDE * min(sides)
    taken = (
        f"gray images of {sides[0]} by {sides[1]} pixels; say modality='series' (--modality series) if they are series"
        if gray
        else f"series of {sides[0]} channels and {sides[1]} steps; say modality='image' (--modality image) if they are "
        "images"
    )
    return "image" if gray else "series", (f"x has the shape {list(x.shape)} and was taken for {taken}.",)


def stack(series: Sequence[Any], name: str = "x") -> Array:
    """Series of unequal lengths as float64 [N, channels, T], with NaN behind their ends.

    Args:
        series: N arrays [channels, T] or [T].
        name: for messages.

    Raises:
        DataError: they have different channels.
    """
    arrays = [np.atleast_2d(np.asarray(one, dtype=np.float64)) for one in series]
    channels = {array.shape[0] for array in arrays if array.ndim == 2}
    if len(channels) != 1 or any(array.ndim > 2 for array in arrays):
        raise DataError(f"{name}: the series have {sorted(channels)} channels; give each the same, as [channels, T].")
    stacked = np.full((len(arrays), *channels, max(array.shape[1] for array in arrays)), np.nan)
    for row, array in enumerate(arrays):
        stacked[row, :, : array.shape[1]] = array
    return stacked


def ragged(given: object) -> Array | None:
    """A list of arrays of unequal lengths, stacked; None of anything else."""
    if not isinstance(given, list | tuple) and not (isinstance(given, np.ndarray) and given.dtype == object):
        return None
    lengths = {np.shape(one)[-1] for one in given if hasattr(one, "__len__") and not isinstance(one, str)}
    return stack(list(given)) if len(lengths) > 1 else None


def reads(path: Path, *, asked: bool = False) -> bool:
    """Whether a file holds series: `.ts`, `.txt`, and a `.tsv` whose first line is of numbers, and not of names.

    Args:
        path: of the file.
        asked: whether the user says so, so that numbers in rising order are no names either.
    """
    suffix = path.suffix.lower()
    if suffix != ".tsv":
        return suffix in (".ts", ".txt")
    with path.open("rb") as file:
        cells = file.readline().decode("utf-8", "replace").rstrip("\r\n").split("\t")
    return len(cells) > 2 and all(map(_is_number, cells)) and (asked or tables.is_row(cells))


def read(path: Path) -> dict[str, Array]:
    """Read a file of series.

    `.tsv` and `.txt` are as in the UCR archive: a series a line, its class first, then its values, separated by tabs,
    spaces or commas. `.ts` is as of sktime and aeon, with equal steps.

    Args:
        path: of a file that `reads`.

    Returns:
        `x` float64 [N, channels, T], NaN where a value is missing or a series has ended; and `label` [N], integers
        where all are whole, else floats or words. A `.ts` file without classes has no `label`.

    Raises:
        DataError: a line cannot be read; it is named.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{path.name} is not UTF-8 text; save it as such.") from None
    parse = _ts if path.suffix.lower() == ".ts" else _ucr
    series, labels = parse(lines, path.name)
    if not series:
        raise DataError(f"{path.name} has no rows.")
    found = {"x": stack(series, path.name)}
    return {**found, "label": _labels(labels)} if labels else found


def _ucr(lines: Sequence[str], name: str) -> tuple[list[Array], list[str]]:
    series, labels = list[Array](), list[str]()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        separator = next((mark for mark in "\t," if mark in line), None)
        label, *cells = line.strip(" \r\n").split(separator)
        if not cells:
            raise DataError(f"{name}, line {number} has one cell; it needs a class and the values of a series.")
        series.append(_numbers(cells, name, number))
        labels.append(label.strip())
    return series, labels


def _ts(lines: Sequence[str], name: str) -> tuple[list[Array], list[str]]:
    head, series, labels = dict[str, str](), list[Array](), list[str]()
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#"):
            continue
        if line.startswith("@"):
            key, _, value = line[1:].partition(" ")
            head[key.lower()] = value.strip().lower()
            continue
        if head.get("timestamps") == "true" or "(" in line:
            raise DataError(
                f"{name}, line {number} has time stamps; didact reads series of equal steps, as values alone."
            )
        *channels, last = line.split(":")
        labelled = head.get("classlabel", head.get("targetlabel", "false")).startswith("true")
        if labelled:
            labels.append(last.strip())
        channels = channels if labelled else [*channels, last]
        series.append(stack([_numbers(channel.split(","), name, number) for channel in channels], name)[:, 0])
    return series, labels


def _numbers(cells: Sequence[str], name: str, line: int) -> Array:
    """Cells as float64 [T]; empty ones, `?` and `NaN` are missing."""
    try:
        return np.array(cells, dtype=np.float64)
    except ValueError:
        words = [_GAPS.get(cell.strip(), cell) for cell in cells]
        if odd := [word for word in words if not _is_number(word)]:
            raise DataError(f"{name}, line {line} holds {odd[0]!r:.40} where a number belongs.") from None
        return np.array(words, dtype=np.float64)


def _is_number(word: str) -> bool:
    try:
        float(_GAPS.get(word.strip(), word))
    except ValueError:
        return False
    return True


def _labels(words: Sequence[str]) -> Array:
    """Classes: integers where all are whole, such as 1.0000000e+00; else numbers or words."""
    if not all(map(_is_number, words)):
        return np.array(words)
    numbers = np.array([_GAPS.get(word, word) for word in words], dtype=np.float64)
    whole = np.isfinite(numbers).all() and bool((numbers == np.floor(numbers)).all())
    return numbers.astype(np.int64) if whole else numbers


def join(files: Sequence[dict[str, Array]], names: Sequence[str]) -> dict[str, Array]:
    """The arrays of several files, one behind the other; shorter series end with NaN.

    Raises:
        DataError: one lacks an array that another has, or has it in another shape.
    """
    found: dict[str, Array] = {}
    for key in dict.fromkeys(key for file in files for key in file):
        if lacking := [name for name, file in zip(names, files, strict=True) if key not in file]:
            raise DataError(
                f"{lacking[0]} has no array {key!r}, which {names[0]} or another file has; both need the same."
            )
        parts = [file[key] for file in files]
        if len({part.shape[1:] for part in parts}) > 1:
            parts = _padded(parts, key, names)
        found[key] = np.concatenate(parts)
    return found


def _padded(parts: Sequence[Array], key: str, names: Sequence[str]) -> list[Array]:
    shapes = {part.shape[1:-1] for part in parts}
    if len(shapes) > 1 or parts[0].ndim != 3 or any(part.dtype.kind != "f" for part in parts):
        told = ", ".join(f"{list(part.shape)} in {name}" for part, name in zip(parts, names, strict=True))
        raise DataError(f"The array {key!r} has the shape {told}; all files need rows of one shape.")
    longest = max(part.shape[2] for part in parts)
    return [pad(part, longest) for part in parts]
