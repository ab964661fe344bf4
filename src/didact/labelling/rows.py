"""The rows that people label, in the form in which the page shows them."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np

from didact.documents import read_object
from didact.errors import ConfigError, DataError, check_choice, nearest
from didact.preprocessing.cells import Frame
from didact.sources import arrays, images, series, tables, targets
from didact.sources.ids import hash_ids
from didact.types import Modality

Array = np.ndarray[Any, Any]
Shown = Literal["image", "text", "table", "series"]
QUERIES = Path("asked") / "queries.csv"
"""The file with the open queries in the directory of a run, which `didact query` writes."""
_TEXT = ".txt"


@dataclass(frozen=True)
class Row:
    """A row: its id, and what of it is shown."""

    id: str
    image: Path | Array | None = None
    """A file, or bytes [H, W] or [H, W, 3]."""
    text: str | Path = ""
    """A text, or its file."""
    series: Array | None = None
    """Floats [channels, T], NaN where a value is missing."""
    cells: tuple[tuple[str, str], ...] = ()
    """Names of columns, and what is in them."""


@dataclass(frozen=True)
class Pool:
    """The rows to be labelled."""

    name: str
    rows: tuple[Row, ...]
    classes: tuple[str, ...] = ()
    """The names of the classes that the data know of."""
    labelled: int = 0
    """How many rows were left out, as they have a label already."""


def open_pool(
    path: Path,
    *,
    target: str | None = None,
    id_column: str | None = None,
    text_column: str | None = None,
    modality: str | None = None,
    images_in: Path | None = None,
) -> Pool:
    """Open rows that wait for labels.

    Args:
        path: a folder of images or of `.txt` files, a table, a `.npz` file, a file of series, or the directory of a run
            with open queries.
        target: the column of labels, which is not shown; rows that have one are left out. By default that called label,
            target or y, if there is one.
        id_column: what names each row; by default the column `id`, or else the row's number from 0.
        text_column: the only column that is shown, as text.
        modality: how rows are shown: table, image, text or series; by default what they are taken for.
        images_in: the folder of the images that a column of a table names; by default the table's. No other file is
            ever shown.

    Raises:
        DataError: there is nothing to label, or it cannot be read; ids that are missing or come twice; images that are
            missing or outside their folder.
        ConfigError: an option that cannot work.
    """
    if modality is not None:
        check_choice("modality", modality, get_args(Shown))
    if (path / QUERIES).is_file():
        return _open_queries(path)
    if path.is_dir():
        return Pool(path.name, _checked(_files(path), path.name))
    if not path.is_file():
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"There is no file or folder {str(path)!r}. {nearest(path.name, siblings[:1000])}")
    suffix = path.suffix.lower()
    if suffix == ".npz" or (suffix in series.SUFFIXES and modality in (None, "series") and series.reads(path)):
        return _open_arrays(path, target, modality)
    if suffix == _TEXT:
        frame = tables.read_texts(path)
    elif tables.is_table(path):
        frame, _ = tables.read(path)
    else:
        raise DataError(
            f"{path.name} is of an unknown kind; give {', '.join((*tables.SUFFIXES, '.npz', '.ts', '.txt'))}, a folder "
            "of images or of .txt files, or a run with open queries."
        )
    return _open_table(path, frame, target, id_column, text_column, modality, images_in)


def _open_queries(run: Path) -> Pool:
    """The open queries of a run."""
    try:
        facts = read_object(run / QUERIES.with_name("query.json"))
        with (run / QUERIES).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError) as error:
        raise DataError(f"The queries of {run} cannot be read: {error}. Ask again with `didact query`.") from error
    classes = tuple(map(str, facts.get("classes") or ()))
    if not classes:
        raise DataError(f"{run} asks for numbers, which have no keys; write them into the column label of {QUERIES}.")
    data, shown = Path(str(facts.get("data"))), str(facts.get("modality"))
    check_choice("modality", shown, get_args(Shown))
    x = _pictures(data) if shown == "image" and data.is_file() else None
    found = []
    for row in rows:
        cells = {name: cell or "" for name, cell in row.items() if name not in ("id", "label", "score")}
        if shown == "image":
            image = _inside(data, cells.pop("file")) if x is None else x[int(cells.pop("file"))]
            found.append(Row(row["id"], image=image))
        elif shown == "series":
            channels = [np.array(channel.split(), dtype=np.float64) for channel in cells["series"].split(";")]
            found.append(Row(row["id"], series=series.stack([np.stack(channels)])[0]))
        elif shown == "text":
            found.append(Row(row["id"], text=" ".join(cells.values())))
        else:
            found.append(Row(row["id"], cells=tuple(cells.items())))
    if not found:
        raise DataError(f"No query of {run} is open; ask for more with `didact query`.")
    return Pool(run.name, _checked(found, run.name), classes)


def _files(folder: Path) -> list[Row]:
    found = []
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        if file.suffix.lower() in images.SUFFIXES:
            found.append(Row(name, image=_inside(folder, name)))
        elif file.suffix.lower() == _TEXT:
            found.append(Row(name, text=_inside(folder, name)))
    if not found:
        raise DataError(f"{folder} holds neither images ({', '.join(images.SUFFIXES)}) nor .txt files.")
    return found


def _inside(folder: Path, name: str) -> Path:
    """A file of a folder; a link or a name that leads out of it, and a file that is missing, are refused."""
    file = (folder / name).resolve()
    if not file.is_relative_to(folder.resolve()):
        raise DataError(
            f"{name!r} is outside {folder}, and only files in there are shown; --images names another folder."
        )
    if not file.is_file():
        raise DataError(f"{name!r} is no file in {folder}; correct it, or name the folder with --images.")
    return file


def _open_arrays(path: Path, target: str | None, modality: str | None) -> Pool:
    found = arrays.read(path)
    x = next((found[name] for name in ("x", "X") if name in found), None)
    if x is None or x.dtype.kind not in "biuf" or x.ndim < 2:
        raise DataError(f"{path.name} has no array x of numbers [N, ...]. {nearest('x', found)}")
    asked = cast(Modality | None, None if modality == "text" else modality)
    kind, _ = series.modality_of(x, asked or (None if path.suffix.lower() == ".npz" else "series"), path.name)
    ids = [str(one) for one in found["id"].tolist()] if "id" in found else [str(row) for row in range(len(x))]
    if kind == "image":
        rows = [Row(one, image=image) for one, image in zip(ids, _bytes(x, path.name), strict=True)]
    elif kind == "series":
        rows = [Row(one, series=np.atleast_2d(values)) for one, values in zip(ids, x.astype(np.float64), strict=True)]
    else:
        rows = [
            Row(one, cells=tuple((f"x{place}", f"{value:g}") for place, value in enumerate(values)))
            for one, values in zip(ids, x.tolist(), strict=True)
        ]
    label = next((found[name] for name in ([target] if target else targets.NAMES) if name in found), None)
    return _unlabelled(path.name, rows, None if label is None else [_word(one) for one in label.tolist()])


def _pictures(path: Path) -> Array:
    found = arrays.read(path)
    return _bytes(found["x" if "x" in found else "X"], path.name)


def _bytes(x: Array, name: str) -> Array:
    """Images as bytes [N, H, W] or [N, H, W, 3]."""
    from didact.preprocessing import scale_images

    scaled = (scale_images(x, name).clip(0, 1) * 255).round().astype(np.uint8)
    return scaled[:, 0] if scaled.shape[1] == 1 else scaled.transpose(0, 2, 3, 1)


def _open_table(
    path: Path,
    frame: Frame,
    target: str | None,
    id_column: str | None,
    text_column: str | None,
    modality: str | None,
    images_in: Path | None,
) -> Pool:
    names = list(map(str, frame.columns))
    for field, column in (("target", target), ("id_column", id_column), ("text_column", text_column)):
        if column is not None and column not in names:
            raise ConfigError(f"{field} is {column!r}, which is no column of {path.name}. {nearest(column, names)}")
    target = target or next((name for name in targets.NAMES if name in names), None)
    id_column = id_column or ("id" if "id" in names else None)
    shown = [text_column] if text_column else [name for name in names if name not in (target, id_column)]
    if not shown:
        raise DataError(f"{path.name} has no column to show beside {target!r} and {id_column!r}.")
    words = {name: [_word(cell) for cell in frame[name].tolist()] for name in names}
    ids = words[id_column] if id_column else [str(row) for row in range(len(frame))]
    if "" in ids:
        raise DataError(f"The id column {id_column!r} is empty in row {ids.index('') + 1}; every row needs an id.")
    cells = [tuple((name, words[name][row]) for name in shown) for row in range(len(frame))]
    folder = images_in or path.parent
    rows = [_row(one, shown_, modality, text_column, folder) for one, shown_ in zip(ids, cells, strict=True)]
    return _unlabelled(path.name, rows, words[target] if target else None)


def _row(name: str, cells: tuple[tuple[str, str], ...], modality: str | None, text: str | None, folder: Path) -> Row:
    picture = next((cell for _, cell in cells if cell.lower().endswith(images.SUFFIXES)), None)
    if modality == "image" and picture is None:
        raise DataError(f"Row {name!r} names no image ({', '.join(images.SUFFIXES)}); leave out --modality image.")
    if modality == "series":
        return Row(name, series=np.array([[_number(name, *cell) for cell in cells]]))
    if picture is not None and modality in (None, "image"):
        rest = tuple(cell for cell in cells if cell[1] != picture)
        return Row(name, image=_inside(folder, picture), cells=rest)
    if text or modality == "text" or (modality is None and len(cells) == 1):
        return Row(name, text="\n\n".join(cell for _, cell in cells))
    return Row(name, cells=cells)


def _number(row: str, column: str, cell: str) -> float:
    try:
        return float(cell or "nan")
    except ValueError:
        raise DataError(f"Row {row!r} has {cell!r} in {column!r}, where a series needs a number.") from None


def _word(cell: object) -> str:
    """What is in a cell, as text; a missing one is empty."""
    if cell is None or type(cell).__name__ == "NAType" or cell != cell:
        return ""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() and abs(cell) < 1e15 else str(cell)


def _unlabelled(name: str, rows: Sequence[Row], labels: Sequence[str] | None) -> Pool:
    """The rows without a label."""
    known = labels or [""] * len(rows)
    open_rows = [row for row, label in zip(rows, known, strict=True) if not label]
    if not open_rows:
        raise DataError(f"All {len(rows)} rows of {name} have a label already.")
    classes = sorted(set(known) - {""})
    names = tuple(classes[place] for place in targets.sort_names(classes)) if classes else ()
    return Pool(name, _checked(open_rows, name), names, len(rows) - len(open_rows))


def _checked(rows: Iterable[Row], name: str) -> tuple[Row, ...]:
    found = tuple(rows)
    remedy = "Name another column with --id-column, or leave the ids out: rows are then named by their number."
    hash_ids(np.array([row.id for row in found], dtype=object), f"id of {name}", remedy)
    return found


def to_json(row: Row) -> dict[str, Any]:
    """What the page draws of a row, ready for JSON; of an image only whether there is one.

    Raises:
        OSError: the file of a text has gone.
    """
    text = row.text.read_text("utf-8", "replace") if isinstance(row.text, Path) else row.text
    lines = None if row.series is None else [_thinned(channel) for channel in _shortened(row.series)]
    return {"id": row.id, "image": row.image is not None, "text": text, "cells": row.cells, "series": lines}


_POINTS = 1500
"""The largest number of values that are drawn of a channel."""


def _shortened(values: Array) -> Array:
    """Channels [C, T] up to the last step at which any of them has a value."""
    steps = np.flatnonzero(~np.isnan(values).all(0))
    return values[:, : int(steps[-1]) + 1 if len(steps) else 0]


def _thinned(values: Array) -> list[tuple[int, float | None]]:
    """The steps and values of a channel [T] to draw: of a long one the least and the largest of each stretch."""
    kept = np.arange(len(values))
    if len(values) > _POINTS:
        stretches = np.array_split(kept, _POINTS // 2)
        filled = np.where(np.isnan(values), np.inf, values), np.where(np.isnan(values), -np.inf, values)
        kept = np.unique(
            [part[pick] for part in stretches for pick in (filled[0][part].argmin(), filled[1][part].argmax())]
        )
    return [(int(step), float(f"{values[step]:.6g}") if np.isfinite(values[step]) else None) for step in kept]


def image_bytes(row: Row) -> tuple[bytes, str]:
    """An image for a browser, and its type: as it is where browsers know its format, else as PNG.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    import io

    from didact.errors import import_optional

    if row.image is None:
        raise DataError(f"Row {row.id} has no image.")
    known = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".gif": "gif", ".webp": "webp", ".bmp": "bmp"}
    try:
        if isinstance(row.image, Path) and row.image.suffix.lower() in known:
            return row.image.read_bytes(), f"image/{known[row.image.suffix.lower()]}"
        module = import_optional("PIL.Image", "vision", "Showing this image", "pillow")
        image = module.open(row.image) if isinstance(row.image, Path) else module.fromarray(row.image)
        file = io.BytesIO()
        image.convert("RGB").save(file, "png")
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"The image {row.id} cannot be shown: {error}.") from error
    return file.getvalue(), "image/png"
