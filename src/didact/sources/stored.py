"""Rows of files that are larger than memory: they stay on the disk, and are read when they are asked for.

JSON lines are read where they are; a compressed file and Parquet are first copied to a temporary file without a name
(in `TMPDIR`), Parquet as memory-mapped Arrow. About a hundred bytes a row are held: where it begins, and its id.
"""

import gzip
import os
import shutil
import tempfile
import weakref
from array import array
from bisect import bisect_right
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from didact.documents import MEBIBYTE, Document, parse_json
from didact.errors import DataError, import_optional
from didact.sources import tables
from didact.types import Lazy

HELD = 64 * MEBIBYTE
"""The largest file, in bytes, whose rows are held in memory."""
_CHUNK = 64
"""Rows of Parquet that are read at once."""


def stored_lines(path: Path) -> Sequence[tuple[str, Document]]:
    """The rows of a file of JSON lines.

    Args:
        path: the file, which must not change while it is used.

    Returns:
        For each row, the words for where it is and what it holds, read anew whenever it is asked for.

    Raises:
        DataError: a line is no JSON object; the file and the line are named.
    """
    name = path.name
    numbers, starts, ends = array("q"), array("q"), array("q")
    with _seekable(path) as file:
        for place in tables.places_of(file, name):
            for held, value in zip((numbers, starts, ends), place, strict=True):
                held.append(value)
        handle = _Handle(os.dup(file.fileno()))

    def row(place: int) -> tuple[str, Document]:
        where = f"{name}, line {numbers[place]}"
        try:
            record = parse_json(os.pread(handle.number, ends[place] - starts[place], starts[place]), unique=True)
        except ValueError:
            raise DataError(f"{where} changed while it was in use; leave data alone during a run.") from None
        return where, record

    return Lazy(row, np.arange(len(numbers)))


class _Handle:
    """An open file, which is closed with the last row that may be read from it."""

    def __init__(self, number: int) -> None:
        self.number = number
        weakref.finalize(self, os.close, number)


def _seekable(path: Path) -> Any:
    """The file, or the contents of a compressed one."""
    if path.suffix.lower() != ".gz":
        return path.open("rb")
    file = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the rows
    with gzip.open(path) as packed:
        shutil.copyfileobj(packed, file)
    file.seek(0)
    return file


def stored_parquet(path: Path) -> Sequence[tuple[str, Document]]:
    """The rows of a Parquet file; see `stored_lines`.

    Raises:
        DataError: it is not readable.
        MissingExtraError: pyarrow is not installed.
    """
    pyarrow = import_optional("pyarrow", "data", f"Reading {path.name}")
    try:
        reader, starts = _mapped(pyarrow, path)
    except (ValueError, OSError) as error:
        raise DataError(f"{path.name} is not a readable Parquet file: {error}") from error
    last: tuple[int, list[Document]] = (-1, [])

    def row(place: int) -> tuple[str, Document]:
        nonlocal last
        batch = bisect_right(starts, place) - 1
        if last[0] != batch:
            last = batch, reader.get_batch(batch).to_pylist()
        return f"{path.name}, row {place + 1}", dict(last[1][place - starts[batch]])

    return Lazy(row, np.arange(starts.pop()))


def _mapped(pyarrow: Any, path: Path) -> tuple[Any, list[int]]:
    """A memory-mapped reader of the rows in small batches; where each begins, and the number of rows."""
    import pyarrow.parquet

    file, starts = pyarrow.parquet.ParquetFile(path), [0]
    with tempfile.NamedTemporaryFile(suffix=".arrow") as copy:
        with pyarrow.ipc.new_file(copy.name, file.schema_arrow) as writer:
            for batch in file.iter_batches(batch_size=_CHUNK):
                writer.write_batch(batch)
                starts.append(starts[-1] + batch.num_rows)
        return pyarrow.ipc.open_file(pyarrow.memory_map(copy.name)), starts


def stored_dataset(name: str, data: Any) -> Sequence[tuple[str, Document]]:
    """The rows of a `datasets.Dataset`, which is memory-mapped Arrow; see `stored_lines`."""
    return Lazy(lambda place: (f"{name}, row {place + 1}", dict(data[place])), np.arange(len(data)))


class Tape:
    """Numbers that are appended, and may become a tensor that stays on the disk.

    Args:
        code: their type, as in `array.array`.
        stored: whether they go to a temporary file, which is memory-mapped in the end.
    """

    def __init__(self, code: str, *, stored: bool) -> None:
        self.held, self.count = array(code), 0
        self.file = tempfile.TemporaryFile() if stored else None  # noqa: SIM115 - it lives as long as the tensor

    def extend(self, values: Any) -> None:
        """Append numbers."""
        before = len(self.held)
        self.held.extend(values)
        self.count += len(self.held) - before
        if self.file is not None and len(self.held) >= MEBIBYTE:
            self._write()

    def _write(self) -> None:
        assert self.file is not None
        self.held.tofile(self.file)
        self.held = self.held[:0]

    def finish(self) -> Tensor:
        """All of them."""
        if self.file is None or not self.count:
            return torch.from_numpy(np.array(self.held))
        self._write()
        self.file.flush()
        with self.file:
            return torch.from_numpy(np.memmap(self.file, np.dtype(self.held.typecode), "r+", shape=(self.count,)))


def each(function: Callable[[Any], Any], items: Sequence[Any]) -> Sequence[Any]:
    """A function of each item: at once, or, of lazy ones, whenever they are asked for."""
    return items.map(function) if isinstance(items, Lazy) else [function(item) for item in items]
