"""Splitting a table or a folder of images into training, validation and test data, which stay as they were."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from didact import hashing
from didact.errors import ConfigError, DataError, import_optional, nearest
from didact.preprocessing.cells import Column, Frame, words_of
from didact.sources import delimited, hub, images, marks, tables, targets
from didact.sources.encoding import cell_objects
from didact.sources.ids import hash_ids
from didact.sources.splitting import assign_splits
from didact.types import IGNORE

NAMES = ("train", "validation", "test")


@dataclass(frozen=True)
class SplitFiles:
    """The files or folders that data were split into."""

    paths: dict[str, Path]
    """Where they are, by split; without an empty validation."""
    sizes: dict[str, int]
    """Their numbers of rows or images."""
    untested: tuple[str, ...]
    """Classes with too few rows for any in the test."""


@dataclass(frozen=True)
class _Data:
    name: str
    columns: Frame
    write: Callable[[np.ndarray, Path], object]
    """Writes the rows at some positions to a path, as they were."""
    suffix: str
    """Of that path."""
    labelled: bool = True
    """Whether there must be a target."""


def split_file(
    path: str | Path,
    out: str | Path,
    *,
    target: str | None = None,
    id_column: str | None = None,
    group_column: str | None = None,
    time_column: str | None = None,
    validation: float = 0.1,
    test: float = 0.2,
    seed: int = 0,
) -> SplitFiles:
    """Write the rows of a table into a file for each split, or images into a folder; see `assign_splits` for the rule.

    Rows are named by the id column, or else by their contents without the target, so that equal inputs stay together.
    A target of classes is stratified: words, or at most half as many whole numbers as rows. Images keep their place in
    the folders of their classes; they are links to the same files where the file system has hard links, else copies.

    Args:
        path: a table, see `tables.SUFFIXES`; a folder with a folder of images for each class; or `hf:` and the name or
            directory of a Hugging Face data set, which becomes Parquet files.
        out: the folder of `train.csv` and so on, or of the folders `train` and so on, which must not exist yet.
        target: the column to be predicted; where None, the one called label, target or y. JSON lines and Hugging Face
            data sets may have none.
        id_column: the column that names each row.
        group_column: rows with the same value stay together.
        time_column: the earliest rows are for training, the latest for the test.
        validation: fraction in [0, 1).
        test: fraction in [0, 1).
        seed: of the hash.

    Raises:
        ConfigError: the folder exists already, or a fraction is out of range.
        DataError: the data cannot be read, or a column is missing or cannot be used.
    """
    out = Path(out)
    if out.exists():
        raise ConfigError(f"out is {str(out)!r}, which exists already; give another folder.")
    data = _read(str(path))
    columns, named = list(map(str, data.columns)), {"target": target, "id_column": id_column}
    for field, column in {**named, "group_column": group_column, "time_column": time_column}.items():
        if column is not None and column not in columns:
            raise DataError(f"{data.name} has no column {column!r} for {field}. {nearest(column, columns)}")
    target = target or _find_target(data)
    labels, classes = (None, []) if target is None else _labels(data.columns[target])
    if group_column is not None:
        keys = marks.groups_of(data.columns[group_column], group_column)
    elif id_column is not None:
        keys = hash_ids(cell_objects(data.columns[id_column]), id_column)
    else:
        keys = hashing.of_columns(_contents(data.columns[name]) for name in data.columns if name != target)
    where = assign_splits(
        keys,
        validation=validation,
        test=test,
        seed=seed,
        labels=labels,
        time=None if time_column is None else marks.times_of(data.columns[time_column], time_column),
    )
    found, sizes = dict[str, Path](), dict[str, int]()
    with _new_folder(out) as folder:
        for name, mask in zip(NAMES, where, strict=True):
            if mask.any():
                data.write(mask.nonzero()[:, 0].numpy(), folder / f"{name}{data.suffix}")
                found[name], sizes[name] = out / f"{name}{data.suffix}", int(mask.sum())
    return SplitFiles(found, sizes, _untested(labels, where[2], classes) if test else ())


@contextlib.contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A folder that appears with all of its files, or not at all."""
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _find_target(data: _Data) -> str | None:
    found = [name for name in targets.NAMES if name in data.columns]
    if not found and not data.labelled:
        return None
    if len(found) != 1:
        raise DataError(
            f"{data.name}: target is not given, and {len(found) or 'none'} of its columns are called "
            f"{', '.join(targets.NAMES)}. Name one of {', '.join(map(str, data.columns))}."
        )
    return found[0]


def _contents(column: Column) -> np.ndarray:
    """Hashes of the cells, int64 [N]."""
    try:
        codes, words = words_of(column)
    except DataError:  # lists and objects
        return hashing.of_strings(map(str, column)).numpy()
    return np.append(hashing.of_strings(words).numpy(), 0)[codes]


def _labels(column: Column) -> tuple[Tensor | None, list[str]]:
    """Class numbers with `IGNORE` where the target is empty, and the classes; None for quantities."""
    codes, classes = words_of(column)
    if 2 * len(classes) > len(codes) or any(map(_is_fraction, classes)):
        return None, []
    return torch.from_numpy(np.where(codes < 0, IGNORE, codes)), classes


def _is_fraction(cell: str) -> bool:
    try:
        return not float(cell).is_integer()
    except (ValueError, OverflowError):
        return False


def _untested(labels: Tensor | None, in_test: Tensor, classes: list[str]) -> tuple[str, ...]:
    if labels is None:
        return ()
    tested = set(labels[in_test].tolist())
    return tuple(name for i, name in enumerate(classes) if i not in tested)


def _read(path: str) -> _Data:
    if path.startswith("hf:"):
        return _hub(path.removeprefix("hf:"))
    file = Path(path)
    if file.is_dir():
        return _folder(file)
    if not file.is_file():
        siblings = [p.name for p in file.parent.iterdir()] if file.parent.is_dir() else []
        raise DataError(f"There is no file or folder {path!r}. {nearest(file.name, siblings[:1000])}")
    kind = tables.kind_of(file)
    if kind not in tables.SUFFIXES:
        raise DataError(
            f"{file.name} is no table; `didact split` reads {', '.join(tables.SUFFIXES)}, folders of images by class, "
            "and hf:NAME."
        )
    read = _lines if kind in tables.LINES else _text if kind in delimited.SEPARATORS else _binary
    try:
        found = read(file)
    except (ValueError, OSError) as error:
        raise tables.unreadable(file, error) from error
    if not len(found.columns):
        raise DataError(f"{file.name} has no rows.")
    return found


def _text(path: Path) -> _Data:
    dialect = tables.find_dialect(path)
    frame = tables.from_arrow(delimited.read_words(path, dialect, gaps=False))

    def write(rows: np.ndarray, out: Path) -> None:
        frame.iloc[rows].to_csv(out, sep=dialect.separator, index=False)

    return _Data(path.name, frame, write, tables.kind_of(path))


def _binary(path: Path) -> _Data:
    kind = tables.kind_of(path)
    format_ = import_optional(f"pyarrow.{kind[1:]}", "data", f"Reading {path.name}")
    write = {".parquet": "write_table", ".feather": "write_feather"}[kind]
    table = format_.read_table(path)
    return _Data(
        path.name, tables.from_arrow(table), lambda rows, out: getattr(format_, write)(table.take(rows), out), kind
    )


def _lines(path: Path) -> _Data:
    lines, records = list[bytes](), []
    for line, record in tables.raw_lines_of(path):
        lines.append(line)
        records.append(record)
    return _Data(
        path.name,
        tables.from_records(records),
        lambda rows, out: out.write_bytes(b"".join(lines[row] + b"\n" for row in rows)),
        tables.kind_of(path),
        labelled=False,
    )


def _hub(name: str) -> _Data:
    data = hub.open_split(name)
    if pictures := hub.pictures_of(data):
        raise DataError(
            f"hf:{name} has images in the column {pictures[0]!r}, which `didact split` does not write; save them as a "
            "folder of images for each class, or name the splits in a column and give split_column (--split-column)."
        )
    frame = tables.from_arrow(data.with_format("arrow")[:])
    return _Data(name, frame, lambda rows, out: data.select(rows).to_parquet(out), ".parquet", labelled=False)


def _folder(path: Path) -> _Data:
    """Images, named by the bytes of their files."""
    pandas = import_optional("pandas", "data", "Splitting a folder of images")
    found = images.files_by_class(path, None)
    files = [file for inside in found.values() for file in inside]
    columns = {"label": [name for name, inside in found.items() for _ in inside]}
    columns["content"] = [str(number) for number in hashing.of_bytes(file.read_bytes() for file in files).tolist()]

    def write(rows: np.ndarray, out: Path) -> None:
        for row in rows:
            _link(files[row], out / files[row].relative_to(path))

    return _Data(path.name, pandas.DataFrame(columns), write, "")


def _link(file: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(file, to)
    except OSError:
        shutil.copy2(file, to)
