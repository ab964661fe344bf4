"""Adaptation of a finished run's student to rows of another domain, whose labels are not read."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from didact import catalogue, evaluation
from didact.documents import Document
from didact.errors import ConfigError, DataError
from didact.experiment import records
from didact.experiment.material import Objects
from didact.experiment.preparing import accepts
from didact.experiment.running import split_arguments, teach
from didact.losses.classes.entropy import prediction_entropy
from didact.materials.examples.data import ExampleData, select_labelled
from didact.parts import saved
from didact.parts.student import Student
from didact.sources import Splits
from didact.types import IGNORE, ExampleFeed, Examples

ADAPTED = "adapted.json"
"""The file with what was found, in the directory of an adapted student."""


@dataclass(frozen=True, kw_only=True)
class Adaptation:
    """A student that was adapted."""

    student: Student = field(repr=False)
    """The adapted student."""
    origin: str
    """The run that it was before."""
    by: str
    """The method."""
    rows: int
    """The number of rows that it was adapted to."""
    before: dict[str, float]
    """The mean `entropy` of its predictions on these rows in nats; and its metrics, where rows have labels."""
    after: dict[str, float]
    """The same after adaptation."""
    directory: Path | None = None
    """Where it was written."""

    def as_dict(self) -> Document:
        """The contents of `adapted.json`."""
        return {name: getattr(self, name) for name in ("origin", "by", "rows", "before", "after")}


def adapt(
    run: str | Path,
    data: object,
    *,
    by: str = "tent",
    directory: str | Path | None = None,
    epochs: float = 1.0,
    batch_size: int = 64,
    lr: float = 1e-3,
    seed: int = 0,
    trust: Sequence[str] = (),
    module: nn.Module | None = None,
    **options: object,
) -> Adaptation:
    """Adapt the student of a finished run to rows of another domain, and judge it on the same rows.

    Args:
        run: the directory of a run, or a student that was exported; it stays as it is.
        data: rows as `didact predict` takes them; labels among them are used for the metrics alone.
        by: a method that adapts, such as `tent`.
        directory: where the adapted student is written, with `adapted.json`; nothing is written without one.
        epochs: how often it goes through the rows.
        batch_size: rows in a step.
        lr: the learning rate, which is constant.
        seed: of the order of the rows, and of the method.
        trust: see `didact.load`.
        module: see `didact.load`.
        options: those of the method.

    Returns:
        The student, with its entropy and metrics before and after.

    Raises:
        ConfigError: the method does not adapt, or cannot adapt this student, or the directory holds something.
        DataError: the rows are others than the student was taught on, or too few.

    Examples:
        >>> from didact import worlds
        >>> run = didact.run("supervised", data="digits", student="cnn:4,8", progress=False, directory="runs/d")
        >>> found = didact.adapt("runs/d", 0.25 * worlds.load("digits").tensors["x"][:200].numpy())
        >>> found.rows, found.after["entropy"] < found.before["entropy"]
        (200, True)
    """
    info = catalogue.find(by)
    feed = info.method_type.feed
    if not (isinstance(feed, ExampleFeed) and feed.adapts) or accepts(info, "teacher"):
        raise ConfigError(f"by is {by!r}, which adapts no student; {', '.join(methods())} would work.")
    if directory is not None and (place := Path(directory)).exists() and (place.is_file() or any(place.iterdir())):
        why = "is a file" if place.is_file() else "holds something already"
        raise ConfigError(f"out is {str(directory)!r}, which {why}; give another directory.")
    student = saved.load(run, tuple(trust), module=module)
    if student.like.task != "classification":
        raise ConfigError(f"The student of {run} answers with no classes, of whose certainty {by} makes use.")
    examples = student.read(data)
    if examples.size < feed.least_batch:
        raise DataError(
            f"There is {examples.size} row to adapt to, but {by} needs {feed.least_batch} in a batch; give more rows."
        )
    before = _measured(student, examples)
    blank = examples.with_tensors(label=torch.full((examples.size,), IGNORE))
    none = blank.select(torch.zeros(0, dtype=torch.int64))
    opened = ExampleData(opened=blank, examples=blank, splits=Splits(blank, none, none), train=blank, duplicates=())
    config, _ = split_arguments(
        method=by,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        schedule="constant",
        weight_decay=0.0,
        seed=seed,
        progress=False,
        options=options,
    )
    adapted = teach(config, Objects(student=copy.deepcopy(student.learner)), opened)
    found = replace(student, learner=adapted.learner.eval())
    result = Adaptation(
        student=found,
        origin=str(run),
        by=info.name,
        rows=examples.size,
        before=before,
        after=_measured(found, examples),
    )
    if directory is None:
        return result
    saved.save(found, Path(directory) / saved.STUDENT)
    records.write_json(Path(directory) / ADAPTED, result.as_dict())
    return replace(result, directory=Path(directory))


def methods() -> tuple[str, ...]:
    """The names of the methods that adapt a student without a teacher."""
    adapting = (info for info in catalogue.listing() if info.feed.get("adapts"))
    return tuple(info.name for info in adapting if not accepts(info, "teacher"))


def _measured(student: Student, examples: Examples) -> dict[str, float]:
    answers = evaluation.predict(student.learner, examples)
    entropy = {"entropy": prediction_entropy(answers.logits).mean().item()}
    known = select_labelled(examples)
    return entropy | (evaluation.metrics(evaluation.predict(student.learner, known)) if known.size else {})
