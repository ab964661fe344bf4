"""Caches of teachers' signals on examples, for teachers whose signals do not change."""

from functools import partial
from typing import Any

from torch import Tensor

from didact.documents import Document
from didact.errors import ConfigError
from didact.experiment.material import Asked, Run
from didact.materials.examples.answers import without_labels
from didact.materials.examples.data import ExampleData
from didact.materials.examples.source import feed_of, train_of
from didact.memory import SignalCache
from didact.teachers import CachedTeacher, OnDemandTeacher, committees
from didact.types import Batch, Examples, Signal
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
    # The signals of pixels would not fit beside those of images.
    if varied or alone or run.data.examples.task == "segmentation":
        return teacher
    if isinstance(teacher, OnDemandTeacher):
        # What it was asked about is kept, so that each row is charged once.
        teacher.wrap(add_cache(teacher.always, run))
        return teacher
    if not getattr(teacher, "frozen", False):
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
    """All examples of all splits, in their order, without labels.

    Raises:
        ConfigError: A committee in the teacher weighs its members by the labels.
    """
    splits = run.data.splits
    if any(part.weights == "agreement" for teacher in run.teachers for part in committees(teacher.model)):
        raise ConfigError(
            f"teacher is {run.config.teacher!r}, a committee that weighs its members by the labels that the student "
            "may see, so that its signals can't be stored for all examples; store those of its members."
        )
    return Asked(
        unit="example",
        batches=[
            partial(_batch, part, at)
            for part in (splits.train, splits.validation, splits.test)
            for at in range(0, part.size, ROWS)
        ],
        facts=facts_of(run.data.examples),
    )


def _batch(examples: Examples, at: int) -> Batch:
    return without_labels(examples.batch(slice(at, at + ROWS)))
