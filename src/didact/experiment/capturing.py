"""Asks a run's teacher about all of its data, and stores what it answers."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from didact import hashing
from didact.documents import Document
from didact.errors import ConfigError, DataError, check_range
from didact.experiment.config import RunConfig
from didact.experiment.material import Asked, Data, Objects, Run
from didact.experiment.preparing import prepare
from didact.memory import signal_store
from didact.memory.coding import Form, columns_of, decode, encode, loss_of
from didact.memory.signal_store import Rows, SignalStore
from didact.parts import parse
from didact.teachers import identity
from didact.teachers.stored import EXAMPLE, TOKEN, needed_positions, rows_of, sequences
from didact.types import Batch, Signal
from didact.types.algebra import from_tensors

SHARD = 32
"""Batches in a shard."""
_MEASURED = 256
"""Examples or tokens of a shard on which it is measured what is lost."""


@dataclass(frozen=True, slots=True)
class Captured:
    """What a capture did."""

    directory: Path
    shards: int
    """How many there are of its data."""
    asked: int
    """How many of them were asked for now."""
    elsewhere: int
    """How many another process is asking for."""


def capture(
    config: RunConfig,
    directory: Path,
    *,
    form: Form | None = None,
    features: Sequence[str] = (),
    objects: Objects | None = None,
    shard: int = SHARD,
    on_shard: Callable[[int, int], None] | None = None,
) -> Captured:
    """Ask a teacher about all data of a run, and store its signals; what is stored already is not asked for again.

    Several processes may do so at the same time: each takes the shards that no other one has. A shard is the same,
    to the byte, whoever wrote it, on the same machine with the same number of threads.

    Args:
        config: the run that has this teacher and these data.
        directory: the store's; made if it is missing.
        form: what is kept; None keeps all of examples, representations in 16 bits and all else in 32, and the 32
            likeliest tokens of texts in 8 bits.
        features: the names of submodules whose outputs are stored too.
        objects: Python objects that replace specs.
        shard: batches in a shard, at least 1.
        on_shard: called after each shard with the number of those that are there, and that of all.

    Raises:
        DataError: the directory is of another teacher, other data or another form; the message says which.
        DidactError: the run cannot be assembled, or has no teacher that stays as it is.
    """
    check_range("shard", shard, at_least=1)
    run = prepare(config, objects)
    teacher = _teacher(run)
    if features:
        teacher.tap(*features)
    asked = run.material.asked(run)
    form = form or (Form("top_k", 32, 8) if asked.unit == TOKEN else Form(bits=16 if features else 32))
    signal_store.begin(directory, _facts(run, asked, teacher, form, shard))
    store = SignalStore(directory)
    groups = [asked.batches[at : at + shard] for at in range(0, len(asked.batches), shard)]
    mine = there = 0
    for number, group in enumerate(groups):
        name = f"{number:06d}"
        with signal_store.claimed(directory, name) as ours:
            if ours and not signal_store.has_shard(directory, name):
                rows, notes = _shard(store, group, teacher, run, number)
                signal_store.write_shard(directory, name, rows, notes)
                mine += 1
        there += signal_store.has_shard(directory, name)
        if on_shard is not None:
            on_shard(there, len(groups))
    return Captured(directory, len(groups), mine, len(groups) - there)


def _teacher(run: Run[Data]) -> Any:
    """The only teacher, which must stay as it is."""
    teacher = run.teacher
    if teacher is None:
        raise ConfigError("teacher is not given, or there are several; a cache holds the signals of one.")
    if not getattr(teacher, "frozen", True):
        raise ConfigError(
            f"teacher is {run.config.teacher!r}, which changes while it teaches, so that its signals can't be stored."
        )
    return teacher


def _facts(run: Run[Data], asked: Asked, teacher: Any, form: Form, shard: int) -> Document:
    """What a store says of itself, by which it is told from others."""
    signal = _few(asked.unit, *_answer(run, teacher, asked.batches[0]()))
    kept = form.reduce(signal)
    columns = columns_of(kept, form, signal.outcomes)
    spec = run.config.teacher or ""
    files = [] if spec.startswith("<") else [Path(one.argument) for one in parse(spec, "teacher").walk()]
    return {
        "teacher": {"spec": spec, "weights": identity.of_teacher(teacher, files)},
        "data": {"name": run.data.describe()["name"], "fingerprint": run.data.fingerprint},
        **asked.facts,
        "unit": asked.unit,
        "kind": type(kept).__name__,
        "outcomes": signal.outcomes,
        "form": dataclasses.asdict(form),
        "columns": signal_store.column_facts(columns),
        "shard": shard,
    }


@torch.no_grad()
def _answer(run: Run[Data], teacher: Any, batch: Batch) -> tuple[Batch, Signal]:
    """A batch with the teacher's signal."""
    batch = batch.to(run.place.device)
    return batch, teacher.signal(batch)


def _few(unit: str, batch: Batch, signal: Signal) -> Signal:
    """The signal of a few examples, or of a few tokens that are stored."""
    if unit == EXAMPLE:
        return signal.rows(slice(0, _MEASURED))
    index = needed_positions(sequences(batch))[0]
    if not len(index):
        raise DataError("The completions have no token that a teacher could be asked about; give longer ones.")
    return signal.flatten().rows(index[:_MEASURED].to(signal.device))


def _shard(
    store: SignalStore, group: Sequence[Callable[[], Batch]], teacher: Any, run: Run[Data], number: int
) -> tuple[Rows, dict[str, float]]:
    """The rows of a shard, and what is lost by storing its first ones."""
    found, notes = [], dict[str, float]()
    for place, make in enumerate(group):
        batch, signal = _answer(run, teacher, make())
        found.append(rows_of(store, batch, signal, seed=hashing.stream(number, f"draws {place}")))
        # What was drawn is unbiased, but no distribution to be compared with.
        if not place and store.form.kept != "sampled":
            few = _few(store.facts["unit"], batch, signal)
            kept = encode(store.form.reduce(few, seed=number), store.columns)
            notes = loss_of(few, from_tensors(store.facts["kind"], decode(kept, store.columns)))
    return signal_store.join(found), notes
