"""Caches of teachers' signals on examples, for teachers whose signals do not change."""

from functools import partial
from typing import Any

from torch import Tensor

from didact.documents import Document
from didact.experiment.material import Asked, Run
from didact.materials.examples.data import ExampleData
from didact.materials.examples.source import feed_of, train_of
from didact.memory import SignalCache
from didact.teachers import CachedTeacher
from didact.types import Examples, Signal
from didact.types.algebra import to_tensors

LIMIT = 1 << 30
"""Maximal size of a cache in bytes; larger signals are recomputed each time."""


ROWS = 256
"""Examples that a teacher is asked about at once where its signals are to be stored."""


class BoundedCache(SignalCache):
    """A cache that stays empty if all signals would take more than `LIMIT` bytes."""

    def put(self, ids: Tensor, signal: Signal) -> None:
        """Cache the signal of examples, if there is room for all of them."""
        size = sum(part.nbytes for part in to_tensors(signal).values())
        if size // max(len(ids), 1) * len(self) <= LIMIT:
            super().put(ids, signal)


def add_cache(teacher: object, run: Run[ExampleData]) -> Any:
    """A teacher behind a cache, if its signals can be reused."""
    varied = run.config.batches.augment != "none" or bool(feed_of(run).views)
    # Cached signals cost no calls, so a budget of calls alone would never be used up.
    alone = set(run.config.budget.limits()) <= {"teacher_calls", "labels"}
    if varied or not getattr(teacher, "frozen", False) or alone:
        return teacher
    return CachedTeacher(teacher, BoundedCache(train_of(run).tensors["id"]))


def facts_of(examples: Examples) -> Document:
    """What examples must have in common for a teacher's signals to mean the same: classes, or the unit."""
    scale = examples.scale
    return {
        "task": examples.task,
        "classes": list(examples.classes) if examples.task == "classification" else [],
        "scale": None if scale is None else [scale.mean, scale.std],
    }


def asked_of(run: Run[ExampleData]) -> Asked:
    """All examples of all splits, in their order."""
    splits = run.data.splits
    return Asked(
        unit="example",
        batches=[
            partial(part.batch, slice(at, at + ROWS))
            for part in (splits.train, splits.validation, splits.test)
            for at in range(0, part.size, ROWS)
        ],
        facts=facts_of(run.data.examples),
    )
