"""Splitting a table into files of training, validation and test rows, which stay as they were."""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from didact import hashing
from didact.documents import parse_json
from didact.errors import ConfigError, DataError, import_optional, nearest
from didact.sources import marks, tables, targets
from didact.sources.ids import hash_ids
from didact.sources.splitting import assign_splits
from didact.types import IGNORE

NAMES = ("train", "validation", "test")


@dataclass(frozen=True)
class SplitFiles:
    """The files that a table was split into."""

    paths: dict[str, Path]
    """The files by split; without an empty validation."""
    sizes: dict[str, int]
    """Their numbers of rows."""
    untested: tuple[str, ...]
    """Classes with too few rows for any in the test."""


@dataclass(frozen=True)
class _Table:
    columns: Mapping[str, Sequence[str]]
    """The cells by column, as text."""
    write: Callable[[list[int], Path], object]
    """Writes the rows at some positions into a file, as they were."""


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
    """Write the rows of a table into a file for each split; see `assign_splits` for the rule.

    Rows are named by the id column, or else by their contents without the target, so that equal inputs stay together.
    A target of classes is stratified: words, or at most half as many whole numbers as rows.

    Args:
        path: a `.csv`, `.tsv`, `.parquet` or `.jsonl` file.
        out: the folder of `train.csv` and so on, which must not exist yet.
        target: the column to be predicted; where None, the one called label, target or y.
        id_column: the column that names each row.
        group_column: rows with the same value stay together.
        time_column: the earliest rows are for training, the latest for the test.
        validation: fraction in [0, 1).
        test: fraction in [0, 1).
        seed: of the hash.

    Raises:
        ConfigError: the folder exists already, or a fraction is out of range.
        DataError: the file cannot be read, or a column is missing or cannot be used.
    """
    path, out = Path(path), Path(out)
    if out.exists():
        raise ConfigError(f"out is {str(out)!r}, which exists already; give another folder.")
    table = _read(path)
    named = {"target": target, "id_column": id_column, "group_column": group_column, "time_column": time_column}
    for field, column in named.items():
        if column is not None and column not in table.columns:
            raise DataError(f"{path.name} has no column {column!r} for {field}. {nearest(column, table.columns)}")
    target = target or _find_target(table, path)
    labels, classes = _labels(table.columns[target])
    where = assign_splits(
        _keys(table, target, id_column) if group_column is None else _read_column(table, group_column, marks.groups_of),
        validation=validation,
        test=test,
        seed=seed,
        labels=labels,
        time=None if time_column is None else _read_column(table, time_column, marks.times_of),
    )
    found, sizes = dict[str, Path](), dict[str, int]()
    with _new_folder(out) as folder:
        for name, mask in zip(NAMES, where, strict=True):
            rows = mask.nonzero()[:, 0].tolist()
            if rows:
                table.write(rows, folder / f"{name}{path.suffix}")
                found[name], sizes[name] = out / f"{name}{path.suffix}", len(rows)
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


def _read_column(table: _Table, column: str, read: Callable[[Sequence[str], str], Tensor]) -> Tensor:
    return read(table.columns[column], column)


def _find_target(table: _Table, path: Path) -> str:
    found = [name for name in targets.NAMES if name in table.columns]
    if len(found) != 1:
        raise DataError(
            f"{path.name}: target is not given, and {len(found) or 'none'} of its columns are called "
            f"{', '.join(targets.NAMES)}. Name one of {', '.join(table.columns)}."
        )
    return found[0]


def _keys(table: _Table, target: str, id_column: str | None) -> Tensor:
    if id_column is not None:
        return hash_ids(np.array(table.columns[id_column], dtype=object), id_column)
    inputs = [cells for name, cells in table.columns.items() if name != target]
    return hashing.of_strings(map("\x1f".join, zip(*inputs, strict=True)))


def _labels(cells: Sequence[str]) -> tuple[Tensor | None, list[str]]:
    """Class numbers with `IGNORE` where the target is empty, and the classes; None for quantities."""
    classes = sorted({cell for cell in cells if cell})
    if 2 * len(classes) > len(cells) or any(map(_is_fraction, classes)):
        return None, []
    number = {name: i for i, name in enumerate(classes)}
    return torch.tensor([number.get(cell, IGNORE) for cell in cells]), classes


def _is_fraction(cell: str) -> bool:
    try:
        return not float(cell).is_integer()
    except ValueError:
        return False


def _untested(labels: Tensor | None, in_test: Tensor, classes: list[str]) -> tuple[str, ...]:
    if labels is None:
        return ()
    tested = set(labels[in_test].tolist())
    return tuple(name for i, name in enumerate(classes) if i not in tested)


def _read(path: Path) -> _Table:
    if not path.is_file():
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"There is no file {str(path)!r}. {nearest(path.name, siblings[:1000])}")
    suffix = path.suffix.lower()
    if suffix not in tables.SUFFIXES:
        raise DataError(f"{path.name} is no table; `didact split` reads {', '.join(tables.SUFFIXES)}.")
    try:
        found = {".parquet": _read_parquet, ".jsonl": _read_lines, ".ndjson": _read_lines}.get(suffix, _read_csv)(path)
    except (ValueError, OSError) as error:
        raise DataError(f"{path.name} is not a readable {suffix[1:]} file: {error}") from error
    if not next(iter(found.columns.values()), ()):
        raise DataError(f"{path.name} has no rows.")
    return found


def _read_csv(path: Path) -> _Table:
    pandas = import_optional("pandas", "data", f"Reading {path.name}")
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    frame = pandas.read_csv(path, sep=separator, dtype=str, keep_default_na=False, na_filter=False)

    def write(rows: list[int], out: Path) -> None:
        frame.iloc[rows].to_csv(out, sep=separator, index=False)

    cells: dict[str, Sequence[str]] = {str(name): frame[name].tolist() for name in frame.columns}
    return _Table(cells, write)


def _read_parquet(path: Path) -> _Table:
    parquet = import_optional("pyarrow.parquet", "data", f"Reading {path.name}")
    table = parquet.read_table(path)
    cells: dict[str, Sequence[str]] = {
        str(name): ["" if cell is None else str(cell) for cell in table[name].to_pylist()]
        for name in table.column_names
    }
    return _Table(cells, lambda rows, out: parquet.write_table(table.take(rows), out))


def _read_lines(path: Path) -> _Table:
    lines = [line for line in path.read_text(encoding="utf-8-sig").split("\n") if line.strip()]
    records: list[Any] = [parse_json(line) for line in lines]
    for row, record in enumerate(records, 1):
        if not isinstance(record, dict):
            raise DataError(f"{path.name} holds no object in row {row}; each line must be one.")
    names = dict.fromkeys(name for record in records for name in record)
    cells: dict[str, Sequence[str]] = {str(name): [_word(record.get(name)) for record in records] for name in names}
    return _Table(cells, lambda rows, out: out.write_text("".join(f"{lines[row]}\n" for row in rows), encoding="utf-8"))


def _word(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
