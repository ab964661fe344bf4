"""A teacher's signals on the disk: asked for once, read as often as one likes, by any program that reads Arrow.

A store is a directory. `store.json` says whose signals they are and in which form. Each shard is a file of Arrow's IPC
format, which is mapped into memory rather than read, beside a JSON file of its name with its checksum, SHA-256, without
which it is not there. Both are written whole or not at all. In a shard, a row is an example or a sequence of tokens:
`key` (int64), `first` and `length` (int32: the positions first to first + length - 1 of the sequence are stored, which
are 0 and 1 for an example), and one list for each tensor of the signal, position after position.
"""

import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor

from didact.documents import Document, Values, read_object
from didact.errors import DataError, import_optional
from didact.files import whole_file
from didact.memory.coding import Column, Form, decode
from didact.types import Signal
from didact.types.algebra import from_tensors

FACTS, FORMAT = "store.json", "didact signals 1"
_COUNTED = {"rows", "positions", "sha256"}
_ALWAYS = ("key", "first", "length")
_SUFFIX = ".arrow"


@dataclass(frozen=True, slots=True)
class Rows:
    """Signals of some examples or sequences, as they are stored."""

    keys: np.ndarray
    """int64 [N]."""
    first: np.ndarray
    """int32 [N]."""
    length: np.ndarray
    """int32 [N], at least 1 each."""
    tensors: Mapping[str, np.ndarray]
    """By column [sum of lengths, width]."""


def join(found: Sequence[Rows]) -> Rows:
    """Rows one after the other, as one."""
    return Rows(
        np.concatenate([rows.keys for rows in found]),
        np.concatenate([rows.first for rows in found]),
        np.concatenate([rows.length for rows in found]),
        {name: np.concatenate([rows.tensors[name] for rows in found]) for name in found[0].tensors},
    )


def check_facts(directory: Path, wanted: Values) -> Document:
    """The facts of a store.

    Args:
        directory: the store's.
        wanted: facts that it must have, by name.

    Raises:
        DataError: there is no store, it is broken, or a fact is another one; the message says which.
    """
    path = directory / FACTS
    if not path.is_file():
        raise DataError(f"{directory} is no cache of signals: it has no {FACTS}. `didact cache build` makes one.")
    facts = read_object(path)
    if facts.get("format") != FORMAT:
        raise DataError(f"{path} has the format {facts.get('format')!r}, and this didact reads {FORMAT!r}.")
    for name, value in wanted.items():
        if facts.get(name) != value:
            raise DataError(
                f"The cache {directory} is of another {name}: {_short(facts.get(name))}, and here it is "
                f"{_short(value)}. Use the same, or build a cache of its own."
            )
    return facts


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def begin(directory: Path, facts: Values) -> Document:
    """Make a store, or open one with the same facts to go on writing.

    Raises:
        DataError: there is one with other facts; the message says which.
    """
    whole = {"format": FORMAT, **facts}
    if not (directory / FACTS).exists():
        with whole_file(directory / FACTS) as path:
            path.write_text(json.dumps(whole, indent=1))
    return check_facts(directory, facts)


def write_shard(directory: Path, name: str, rows: Rows, notes: Values) -> None:
    """Write a shard, then its checksum: a writer that is killed leaves a whole shard or none.

    Args:
        directory: the store's.
        name: the shard's, without a suffix; one of that name is replaced.
        rows: what it holds.
        notes: what else is to be known of it, such as the error of what was left out.
    """
    pa = import_optional("pyarrow", "data", "A cache of signals")
    per_row = {name: array.shape[-1] for name, array in rows.tensors.items()}
    ends = np.concatenate([[0], np.cumsum(rows.length, dtype=np.int64)])
    arrays = [pa.array(rows.keys), pa.array(rows.first), pa.array(rows.length)]
    for column, array in rows.tensors.items():
        offsets = pa.array(ends * per_row[column])
        arrays.append(pa.LargeListArray.from_arrays(offsets, pa.array(array.reshape(-1))))
    table = pa.record_batch(arrays, names=[*_ALWAYS, *rows.tensors])
    path = directory / f"{name}{_SUFFIX}"
    with (
        whole_file(path) as partial,
        pa.OSFile(str(partial), "wb") as sink,
        pa.ipc.new_file(sink, table.schema) as writer,
    ):
        writer.write_batch(table)
    sidecar = {"rows": len(rows.keys), "positions": int(ends[-1]), "sha256": _digest(path), **notes}
    with whole_file(path.with_suffix(".json")) as partial:
        partial.write_text(json.dumps(sidecar))


def has_shard(directory: Path, name: str) -> bool:
    """Whether a shard is there whole."""
    return (directory / f"{name}.json").exists() and (directory / f"{name}{_SUFFIX}").exists()


@contextmanager
def claimed(directory: Path, name: str) -> Iterator[bool]:
    """Claim a shard, so that of several writing processes one writes it; the claim ends with the process.

    Yields:
        Whether it is ours.
    """
    path = directory / f".{name}.lock"
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        try:
            yield True
        finally:
            path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard as it lies on the disk."""

    path: Path
    notes: Values
    """Its JSON file."""

    def verify(self) -> str:
        """What is wrong with it, as a sentence; empty if nothing is."""
        if not self.path.exists():
            return f"{self.path.name} is missing."
        if _digest(self.path) != self.notes.get("sha256"):
            return f"{self.path.name} is not what was written: its checksum differs."
        return ""


def shards(directory: Path) -> list[Shard]:
    """The whole shards of a store, by name."""
    return [
        Shard(path.with_suffix(_SUFFIX), read_object(path))
        for path in sorted(directory.glob("*.json"))
        if path.name != FACTS
    ]


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a store holds."""

    facts: Values
    shards: int
    rows: int
    """Examples or sequences; one that is in two shards counts twice."""
    positions: int
    """Examples, or stored tokens."""
    bytes: int
    """Of all shards on the disk."""
    lost: Mapping[str, float]
    """What is lost by storing, as the mean over the shards that were measured; see `didact.memory.coding.loss_of`."""

    @property
    def each(self) -> float:
        """Bytes on the disk for each example or token."""
        return self.bytes / max(self.positions, 1)


def inventory(directory: Path) -> Inventory:
    """Look at a store; its shards are not opened.

    Raises:
        DataError: there is none.
    """
    facts, found = check_facts(directory, {}), shards(directory)
    measured = [shard.notes for shard in found if set(shard.notes) - _COUNTED]
    names = sorted({name for notes in measured for name in notes} - _COUNTED)
    return Inventory(
        facts,
        len(found),
        sum(shard.notes["rows"] for shard in found),
        sum(shard.notes["positions"] for shard in found),
        sum(shard.path.stat().st_size for shard in found if shard.path.exists()),
        {name: fmean(notes[name] for notes in measured if name in notes) for name in names},
    )


def merge(directory: Path, other: Path) -> int:
    """Take the shards of another store of the same teacher, data settings and form.

    Args:
        directory: the store that is added to.
        other: the one whose shards are copied; what both have is copied once.

    Returns:
        How many were copied.

    Raises:
        DataError: the other one is of something else, or one of its shards is broken.
    """
    facts = check_facts(directory, {})
    theirs = {name: value for name, value in facts.items() if name not in ("data", "shard", "format")}
    check_facts(other, theirs)
    known, copied = {shard.notes["sha256"] for shard in shards(directory)}, 0
    for shard in shards(other):
        if wrong := shard.verify():
            raise DataError(_broken(shard, wrong))
        if shard.notes["sha256"] in known:
            continue
        path = directory / f"merged-{shard.notes['sha256'][:16]}{_SUFFIX}"
        with whole_file(path) as partial:
            shutil.copyfile(shard.path, partial)
        with whole_file(path.with_suffix(".json")) as partial:
            partial.write_text(json.dumps(shard.notes))
        copied += 1
    return copied


def prune(directory: Path) -> list[str]:
    """Delete what is broken, half written, or held by another shard too.

    Returns:
        The names of the deleted files.
    """
    check_facts(directory, {})
    gone: list[Path] = [path for path in directory.glob(".*") if path.suffix == ".lock" or ".partial-" in path.name]
    kept, held = shards(directory), set[tuple[int, ...]]()
    whole = {shard.path for shard in kept}
    gone += [path for path in directory.glob(f"*{_SUFFIX}") if path not in whole]
    for shard in kept:
        heads = {} if shard.verify() else _open(shard, False)[0]
        rows = set(zip(*(heads[name].tolist() for name in _ALWAYS), strict=True)) if heads else set()
        if rows <= held:
            gone += [path for path in (shard.path, shard.path.with_suffix(".json")) if path.exists()]
        held |= rows
    for path in gone:
        path.unlink()
    return sorted(path.name for path in gone)


class SignalStore:
    """The signals of a store, by key.

    Only the keys are held in memory: 32 bytes for each example or sequence. `get` reads what it is asked for.

    Args:
        directory: the store's.
        verify: whether to compare all checksums first, which reads every file.

    Raises:
        DataError: there is no store, or a shard is cut off, altered or missing; the message names it.
    """

    def __init__(self, directory: Path, *, verify: bool = False) -> None:
        self.directory, self.facts = directory, check_facts(directory, {})
        self.columns = {
            name: Column(one["code"], one["dtype"], tuple(one["shape"])) for name, one in self.facts["columns"].items()
        }
        self.verify = verify
        self.refresh()

    @property
    def form(self) -> Form:
        """What is kept of each signal."""
        return Form(**self.facts["form"])

    def refresh(self) -> None:
        """Read again which shards there are."""
        self._heads: list[dict[str, np.ndarray]] = []
        self._tensors: list[dict[str, np.ndarray]] = []
        self._take(shards(self.directory))

    def add(self, name: str) -> None:
        """Take a shard that was just written."""
        path = self.directory / f"{name}{_SUFFIX}"
        self._take([Shard(path, read_object(path.with_suffix(".json")))])

    def _take(self, found: Sequence[Shard]) -> None:
        """Open shards, and find their rows by key."""
        for shard in found:
            heads, tensors = _open(shard, self.verify)
            self._heads.append(heads)
            self._tensors.append(tensors)
        counts = [int(heads["length"].sum(dtype=np.int64)) for heads in self._heads]
        self._bases = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        keys = _joined([heads["key"] for heads in self._heads], np.int64)
        length = _joined([heads["length"] for heads in self._heads], np.int64)
        self._first = torch.from_numpy(_joined([heads["first"] for heads in self._heads], np.int64))
        self._length = torch.from_numpy(length)
        self._start = torch.from_numpy(np.cumsum(length) - length)
        # Of a key that comes twice, the longest stretch counts, and then the later one.
        order = np.lexsort((length, keys))
        self._keys, self._order = torch.from_numpy(keys[order]), torch.from_numpy(order)

    def __len__(self) -> int:
        """The number of examples or sequences."""
        return len(self._keys)

    @property
    def positions(self) -> int:
        """The number of examples, or of the sequences' stored tokens."""
        return int(self._bases[-1])

    def find(self, keys: Tensor) -> Tensor:
        """Where examples or sequences are; int64, shaped as `keys`, -1 for those that are not there."""
        if not len(self):
            return torch.full_like(keys, -1)
        place = torch.searchsorted(self._keys, keys, right=True) - 1
        place.clamp_(min=0)
        return torch.where(self._keys[place] == keys, self._order[place], -1)

    def spans(self, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of the rows at `places` (int64 [N], 0 or more): first position, how many there are, and where they begin."""
        return self._first[places], self._length[places], self._start[places]

    def get(self, positions: Tensor) -> Signal:
        """Read signals.

        Args:
            positions: int64 [M], over all that is stored: the start of a row (see `spans`) and those behind it.

        Returns:
            [M], on the CPU.
        """
        wanted = positions.numpy()
        shard = np.searchsorted(self._bases, wanted, side="right") - 1
        stored: dict[str, np.ndarray] = {}
        for name, dtype, width in _stored(self.columns):
            stored[name] = np.empty((len(wanted), width), dtype)
        for number in np.unique(shard):
            here = shard == number
            local = wanted[here] - self._bases[number]
            for name, array in stored.items():
                array[here] = self._tensors[number][name].reshape(-1, array.shape[1])[local]
        return from_tensors(self.facts["kind"], decode(stored, self.columns))


def column_facts(columns: Mapping[str, Column]) -> Document:
    """Columns for JSON."""
    return {name: {**asdict(column), "shape": list(column.shape)} for name, column in columns.items()}


def _stored(columns: Mapping[str, Column]) -> Iterator[tuple[str, str, int]]:
    """Each stored array: its name, dtype and width."""
    for name, column in columns.items():
        yield name, column.dtype, column.width
        if column.code == "scaled":
            yield f"{name}.scale", "float16", 1


def _open(shard: Shard, verify: bool) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The heads and the tensors of a shard, mapped into memory."""
    pa = import_optional("pyarrow", "data", "A cache of signals")
    if verify and (wrong := shard.verify()):
        raise DataError(_broken(shard, wrong))
    try:
        with pa.memory_map(str(shard.path)) as source:
            batch = pa.ipc.open_file(source).get_batch(0)
        named: dict[str, Any] = dict(zip(batch.schema.names, batch.columns, strict=True))
        heads = {name: named.pop(name).to_numpy() for name in _ALWAYS}
        tensors = {name: column.flatten().to_numpy() for name, column in named.items()}
    except (OSError, KeyError, pa.ArrowInvalid) as error:
        raise DataError(_broken(shard, str(error))) from None
    if len(heads["key"]) != shard.notes.get("rows"):
        raise DataError(_broken(shard, f"It has {len(heads['key'])} rows and not {shard.notes.get('rows')}."))
    return heads, tensors


def _broken(shard: Shard, wrong: str) -> str:
    return (
        f"{shard.path} is broken: {wrong} Delete it with the .json file of its name, and build the cache again: what "
        "is whole is not asked for a second time."
    )


def _joined(arrays: Sequence[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate([array.astype(dtype) for array in arrays]) if arrays else np.zeros(0, dtype)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
