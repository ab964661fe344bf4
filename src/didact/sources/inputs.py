"""Rows for a student that was taught: brought into the form that it takes, a part at a time."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from didact.errors import DataError, nearest
from didact.preprocessing import (
    Category,
    Date,
    Encoded,
    ImagePreprocessing,
    SeriesPreprocessing,
    TablePreprocessing,
    TextPreprocessing,
)
from didact.preprocessing.cells import Column, Columns, numbers_of, word_of, words_of
from didact.sources import arrays, images, series, tables
from didact.sources.text import Tokenizer, tokenize
from didact.types import IGNORE, Examples

ROWS = 50_000
"""Rows of a table that are read at once."""
FEW = 256
"""Images or texts that are read at once."""


@dataclass(frozen=True)
class Inputs:
    """Some rows, as a student takes them."""

    ids: Sequence[object]
    """What names each row: the cells of the id column, names of files, the index of a data frame, or numbers."""
    encoded: Encoded
    answers: Column | None = None
    """The cells of the target, where there is one."""


def read_inputs(given: object, like: Examples, tokenizer: Tokenizer) -> Iterator[Inputs]:
    """Read rows in parts that fit into memory.

    Args:
        given: a path of a table, an `.npz` file, a file of series, an image or a folder of images; a data frame or a
            mapping of columns; an array or tensor; a list of texts, of series, of images, or of paths of images.
        like: examples of the kind that the student was taught on, with their preprocessing.
        tokenizer: of a student that reads text.

    Yields:
        The rows in their order, at least one.

    Raises:
        DataError: there are none, or they are something else than the student was taught on.
    """
    known = like.preprocessing
    if isinstance(known, TablePreprocessing):
        parts = (_table(part, known, like) for part in _tables(given, known, like))
    elif isinstance(known, TextPreprocessing):
        parts = (_text(part, known, like, tokenizer) for part in _texts(given, known, like))
    elif isinstance(known, ImagePreprocessing):
        parts = _images(given, known, like)
    elif isinstance(known, SeriesPreprocessing):
        parts = _series(given, known, like)
    else:
        raise DataError(
            f"The student takes inputs of shape {list(like.shape)}, which are made of no rows that didact knows; call "
            "student.learner with a batch."
        )
    empty = True
    for part in parts:
        empty = False
        yield part
    if empty:
        raise DataError("There are no rows to answer.")


def labels_of(answers: Column, like: Examples) -> Tensor:
    """The cells of a target as labels: those of `like`'s classes, or in its unit.

    Args:
        answers: [N]; empty cells are missing.
        like: see `read_inputs`.

    Raises:
        DataError: a class that the student does not know, or words where numbers belong.
    """
    if like.task == "regression":
        numbers, bad = numbers_of(answers)
        if bad.any():
            raise DataError(f"The target {like.target!r} holds words, but the student answers with numbers.")
        values = torch.from_numpy(numbers)
        return values if like.scale is None else like.scale.apply(values)
    codes, words = words_of(answers)
    known = {name: number for number, name in enumerate(like.classes)}
    found = [known.get(word, known.get(_whole(word))) for word in words]
    if None in found:
        odd = words[found.index(None)]
        row = int((codes == words.index(odd)).argmax())
        raise DataError(
            f"The target {like.target!r} is {odd!r} in row {row + 1}, a class that the student does not know: "
            f"{nearest(odd, like.classes)} Leave such rows out, or leave the cell empty."
        )
    return torch.from_numpy(np.array([*found, IGNORE], dtype=np.int64)[codes])


def _whole(word: str) -> str:
    """A numeral such as 1.0 as a class is named."""
    try:
        return str(word_of(float(word)))
    except ValueError:
        return word


def _rows(given: Any) -> int:
    return len(given) if hasattr(given, "iloc") else len(next(iter(given.values())))


def _sliced(given: Any, size: int) -> Iterator[Any]:
    """Columns, or whatever has a length, in parts."""
    for start in range(0, _rows(given) if isinstance(given, Mapping) else len(given), size):
        part = slice(start, start + size)
        if isinstance(given, Mapping):
            yield {name: column[part] for name, column in given.items()}
        else:
            yield given.iloc[part] if hasattr(given, "iloc") else given[part]


def _tables(given: Any, known: TablePreprocessing, like: Examples) -> Iterator[Columns]:
    """Columns by name, in parts."""
    if isinstance(given, str | Path):
        path = _existing(given)
        if path.suffix.lower() == ".npz":
            yield from _tables(_named(arrays.read(path), known, like), known, like)
            return
        _check_suffix(path, "a table")
        words = [column.name for column in known.columns if isinstance(column, Category | Date)]
        yield from tables.read_chunks(path, ROWS, {*words, like.target, like.id_column})
    elif hasattr(given, "iloc") and hasattr(given, "columns"):
        tables.refuse_repeated(given.columns, "The data frame")
        yield from _sliced(given.rename(columns=str), ROWS)
    elif isinstance(given, Mapping):
        columns = {str(name): _cells(column) for name, column in given.items()}
        if len({len(column) for column in columns.values()}) > 1:
            raise DataError("The columns have different lengths; give each a cell for every row.")
        yield from _sliced(columns, ROWS)
    else:
        yield from _sliced(_named({"x": arrays.as_array(given, "x")}, known, like), ROWS)


def _named(given: Mapping[str, np.ndarray], known: TablePreprocessing, like: Examples) -> dict[str, np.ndarray]:
    """The columns of a matrix, in the order in which the student knows them, with the target where it is there."""
    x = given["x"] if "x" in given else given.get("X")
    names = [column.name for column in known.columns]
    if x is None or x.ndim != 2 or x.shape[1] != len(names):
        shape = "none" if x is None else list(x.shape)
        raise DataError(
            f"The student takes a table of the {len(names)} columns {', '.join(names[:8])}{', ...' * (len(names) > 8)} "
            f"but was given x of shape {shape}; give a data frame, or an array with these columns in that order."
        )
    return {**dict(zip(names, x.T, strict=True)), **{name: given[name] for name in (like.target,) if name in given}}


def _table(part: Columns, known: TablePreprocessing, like: Examples) -> Inputs:
    return Inputs(_ids(part, like), known.encode(part), part.get(like.target))


def _ids(part: Any, like: Examples) -> Sequence[object]:
    if like.id_column and like.id_column in part:
        return list(part[like.id_column])
    return part.index.tolist() if hasattr(part, "iloc") else range(_rows(part))


def _texts(given: Any, known: TextPreprocessing, like: Examples) -> Iterator[Columns]:
    """Columns by name, of which one holds texts, in parts."""
    if isinstance(given, str | Path):
        path = _existing(given)
        if path.suffix.lower() == ".txt":
            yield from _sliced(tables.read_texts(path).rename(columns={"text": known.column}), FEW)
            return
        _check_suffix(path, "a table with texts")
        yield from tables.read_chunks(path, FEW, {known.column, like.target, like.id_column})
    elif hasattr(given, "columns") or isinstance(given, Mapping):
        yield from _sliced(given, FEW)
    else:
        yield from _sliced({known.column: np.array(list(given), dtype=object)}, FEW)


def _text(part: Columns, known: TextPreprocessing, like: Examples, tokenizer: Tokenizer) -> Inputs:
    if known.column not in part:
        raise DataError(f"The rows have no column {known.column!r} of texts. {nearest(known.column, map(str, part))}")
    texts = list(part[known.column])
    for row, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip():
            raise DataError(f"The text in row {row + 1} of {len(texts)} is {text!r:.40}; give a text in every row.")
    tokens, _ = tokenize(texts, tokenizer)
    # A student may have been built for texts of one length.
    length = known.max_length - next(iter(tokens.values())).shape[1]
    padded = {name: torch.nn.functional.pad(ids, (0, length)) for name, ids in tokens.items()}
    return Inputs(_ids(part, like), Encoded(padded), part.get(like.target))


def _images(given: Any, known: ImagePreprocessing, like: Examples) -> Iterator[Inputs]:
    if isinstance(given, str | Path) and Path(given).suffix.lower() == ".npz":
        found = arrays.read(_existing(given))
        x = found["x"] if "x" in found else found.get("X")
        if x is None:
            raise DataError(f"{given} has no array x of images. {nearest('x', found)}")
        yield Inputs(range(len(x)), known.encode(x), found.get(like.target))
    elif isinstance(given, str | Path):
        root = _existing(given)
        paths = sorted(p for p in root.rglob("*") if p.suffix.lower() in images.SUFFIXES) if root.is_dir() else [root]
        for some in _sliced(paths, FEW):
            names = [str(path.relative_to(root)) if path != root else path.name for path in some]
            folders = np.array([Path(name).parts[0] if len(Path(name).parts) > 1 else None for name in names], object)
            yield Inputs(names, _read(list(zip(names, some, strict=True)), known), folders)
    elif isinstance(given, list | tuple):
        start = 0
        for some in _sliced(given, FEW):
            ids = [str(one) if isinstance(one, str | Path) else start + place for place, one in enumerate(some)]
            yield Inputs(ids, _read([(str(one), image) for one, image in zip(ids, some, strict=True)], known))
            start += len(some)
    else:
        x = arrays.as_array(given, "x")
        yield Inputs(range(len(x)), known.encode(x))


def _series(given: Any, known: SeriesPreprocessing, like: Examples) -> Iterator[Inputs]:
    path = _existing(given) if isinstance(given, str | Path) else None
    if path is not None and known.columns and tables.is_table(path):
        for part in tables.read_chunks(path, ROWS, {like.target, like.id_column}):
            yield _steps(part, known, like)
    elif hasattr(given, "columns") or (isinstance(given, Mapping) and "x" not in given):
        for part in _sliced(given, ROWS):
            yield _steps(part, known, like)
    else:
        found: Mapping[str, Any] = given if isinstance(given, Mapping) else {"x": given}
        found = found if path is None else _arrays(path)
        values, answers = series.ragged(found["x"]), found.get(like.target)
        x = arrays.as_array(found["x"], "x") if values is None else values
        if x.dtype.kind not in "biuf":
            raise DataError(f"x is of the type {x.dtype}, but series hold numbers.")
        x = x[:, None] if x.ndim == 2 else x
        for start in range(0, len(x), ROWS):
            part = slice(start, start + ROWS)
            encoded = known.encode(x[part])
            yield Inputs(range(start, start + len(x[part])), encoded, None if answers is None else answers[part])


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file, of which one is `x`."""
    if path.suffix.lower() not in (".npz", *series.SUFFIXES):
        raise DataError(f"The student was taught on series; {path.name} is no .npz, .tsv, .txt or .ts file of them.")
    found = arrays.read(path)
    if not {"x", "X"} & set(found):
        raise DataError(f"{path.name} has no array x of series. {nearest('x', found)}")
    return found if "x" in found else {"x": found["X"], **found}


def _steps(part: Columns, known: SeriesPreprocessing, like: Examples) -> Inputs:
    """Columns of a table, which are the steps of a series."""
    if absent := [name for name in known.columns if name not in part] or (not known.columns and ["x"]):
        raise DataError(
            f"The rows have no column {', '.join(map(repr, absent[:8]))}, which the student was taught with. "
            f"{nearest(absent[0], map(str, part))}"
        )
    values = [numbers_of(part[name])[0] for name in known.columns]
    return Inputs(_ids(part, like), known.encode(np.stack(values, axis=1)[:, None]), part.get(like.target))


def _read(items: list[tuple[str, Any]], known: ImagePreprocessing) -> Encoded:
    """Images that are paths, arrays or of pillow, in the size and colours that the student takes."""
    opened = [(name, _file(image)) for name, image in items]
    x, _, _ = images.stack_images(
        opened, image_size=(known.height, known.width), skip_bad=False, channels=known.channels
    )
    return known.encode(x.numpy())


def _file(image: Any) -> Any:
    """What pillow opens: a path, or a file in memory of an image that is open already."""
    if isinstance(image, str | Path):
        return image
    if not hasattr(image, "save"):
        from PIL import Image

        pixels = np.asarray(image)
        image = Image.fromarray(pixels if pixels.dtype == np.uint8 else (pixels * 255).round().astype(np.uint8))
    file = io.BytesIO()
    image.save(file, "PNG")
    file.seek(0)
    return file


def _existing(given: str | Path) -> Path:
    path = Path(given)
    if not path.exists():
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"There is no file or folder {str(path)!r}. {nearest(path.name, siblings[:1000])}")
    return path


def _check_suffix(path: Path, kind: str) -> None:
    if not tables.is_table(path):
        raise DataError(
            f"The student was taught on {kind}, but {path.name} is none; give a file of the kind "
            f"{', '.join(tables.SUFFIXES)}."
        )


def _cells(given: Any) -> Column:
    """A column of a mapping: numbers where all cells are, else whatever they are; a single cell is a row."""
    if hasattr(given, "dtype"):
        return given if getattr(given, "ndim", 0) else np.atleast_1d(arrays.as_array(given, "x"))
    cells = list(given) if isinstance(given, list | tuple) else [given]
    if all(cell is None or isinstance(cell, int | float) for cell in cells):
        return np.array([np.nan if cell is None else cell for cell in cells], dtype=np.float64)
    return np.array([*cells, None], dtype=object)[:-1]
