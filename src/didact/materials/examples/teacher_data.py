"""The rows that a teacher was fitted on, on which its figures flatter it."""

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from didact import evaluation, hashing
from didact.errors import ConfigError
from didact.evaluation import Predictions, wording
from didact.experiment.checking import Check
from didact.experiment.material import Evaluation, Run
from didact.materials.examples.answers import as_learner
from didact.materials.examples.data import ExampleData, load_examples, select_labelled
from didact.parts.part import Part
from didact.sources import SplitConfig
from didact.types import Examples

PERFECT, BETTER = 0.99, 0.1
"""The accuracy or R2 of a teacher, and its lead over a cheap baseline, that need an explanation on rows that may be its
own."""
COMPARED = 1000
"""Examples on which a teacher's figures in and out of training are compared."""
GAP = 0.05
"""The least difference between them that is suspicious."""


def is_fitted_elsewhere(teacher: Part) -> bool:
    """Whether a teacher comes from elsewhere, so that this run cannot know what it was fitted on."""
    return not (teacher.warm_starts or teacher.control or teacher.origin)


def find_seen(run: Run[ExampleData], examples: Examples) -> Tensor | None:
    """Which examples the teachers were fitted on: bool [N]; None if that is not known.

    Rows are compared by their ids: the id column, or else their contents.

    Raises:
        DidactError: `teacher_data` cannot be read.
    """
    if not any(map(is_fitted_elsewhere, run.teachers)):
        return torch.zeros(examples.size, dtype=torch.bool)
    if run.config.teacher_data is None:
        return None
    if not Path(run.config.teacher_data).exists():
        raise ConfigError(f"teacher_data is {run.config.teacher_data!r}, but there is no such file; correct the path.")
    source = dataclasses.replace(run.config.data, source=run.config.teacher_data)
    theirs = load_examples(dataclasses.replace(run.config, data=source, split=SplitConfig()))
    return torch.isin(examples.tensors["id"], theirs.tensors["id"])


def describe(seen: Tensor | None, student: Predictions, teacher: Predictions) -> tuple[int | None, dict[str, float]]:
    """How many test examples the teacher was fitted on, and figures on the others.

    Args:
        seen: bool [N], from `find_seen`.
        student: its predictions for the N examples.
        teacher: those of the teacher.

    Returns:
        The number, None if it is not known; and the teacher's metrics on the other examples, with the student's as
        `student/NAME`, if there are both kinds.
    """
    if seen is None or not seen.any() or seen.all():
        return (None if seen is None else int(seen.sum())), {}
    theirs, mine = (evaluation.metrics(_without(one, seen)) for one in (teacher, student))
    return int(seen.sum()), {**theirs, **{f"student/{name}": value for name, value in mine.items()}}


def _without(predictions: Predictions, seen: Tensor) -> Predictions:
    return dataclasses.replace(
        predictions, logits=predictions.logits[~seen], labels=predictions.labels[~seen], maps=None, masks=None
    )


def notes(run: Run[ExampleData], found: Evaluation) -> Iterator[str]:
    """Notes on figures of rows that the teacher may have learned."""
    if not found.teacher or found.teacher_seen == 0:
        return
    if found.teacher_seen is None:
        yield (
            "* Nothing says which rows the teacher was fitted on. If test examples are among them, its figures flatter "
            "it; name the file with teacher_data (--teacher-data)."
        )
        return
    of = f"{found.teacher_seen:,} of {select_labelled(run.data.splits.test).size:,}"
    metric = run.data.metrics[0]
    words = f"* The teacher was fitted on {of} test examples, so that its figures flatter it"
    if metric in found.teacher_unseen:
        theirs, mine = (found.teacher_unseen[name] for name in (metric, f"student/{metric}"))
        unit = wording.unit_of(metric)
        words += (
            f"; on the others it has {wording.figure(metric, theirs)}{unit} {wording.name_of(metric)}, and the student "
            f"{wording.figure(metric, mine)}{unit}"
        )
    yield f"{words}."


def checks(run: Run[ExampleData], teacher: Part) -> Iterator[Check]:
    """The doctor's checks of what a teacher was fitted on."""
    if not is_fitted_elsewhere(teacher):
        return
    seen = find_seen(run, run.data.splits.test)
    if seen is None:
        detail = "Nothing says which rows it was fitted on; name the file with teacher_data (--teacher-data)."
        yield from _too_good(run, teacher) or [Check("pass", "teacher data", detail)]
    elif seen.any():
        detail = f"The teacher was fitted on {int(seen.sum()):,} of {len(seen):,} test examples; fit it on others."
        yield Check("warn", "teacher data", detail)
    else:
        yield Check("pass", "teacher data", "The teacher was not fitted on any test example.")
    yield from _gap(run, teacher)


def _too_good(run: Run[ExampleData], teacher: Part) -> list[Check]:
    """Warn of a teacher of unknown rows that is all but perfect on test rows of a table on which others are not."""
    splits = run.data.splits
    train, test = (select_labelled(part) for part in (splits.train, splits.test))
    if train.modality != "table" or train.task == "embedding" or not (train.size and test.size):
        return []
    train, test = (part.select(torch.tensor(hashing.sample(part.size, COMPARED))) for part in (train, test))
    metric = "r2" if train.task == "regression" else "accuracy"
    theirs = evaluation.metrics(evaluation.predict(as_learner(teacher.model), test)).get(metric, math.nan)
    if not theirs >= PERFECT:
        return []
    name = next((name for name in evaluation.baselines_for(train) if name == "boosted_trees"), None)
    if name is None:
        return []
    cheap = evaluation.metrics(evaluation.baseline_predictions(name, train, test)).get(metric, math.nan)
    if theirs - cheap <= BETTER:
        return []
    unit, known = wording.unit_of(metric), wording.name_of(metric)
    words = (
        f"The teacher has {wording.figure(metric, theirs)}{unit} {known} on test examples, and trees that were fitted "
        f"to the training rows have {wording.figure(metric, cheap)}{unit} there: test examples may be among its "
        "training rows. Name the file that it was fitted on with teacher_data (--teacher-data), or fit it without them."
    )
    return [Check("warn", "teacher data", words)]


def _gap(run: Run[ExampleData], teacher: Part) -> Iterator[Check]:
    """Compare the teacher on training and on test examples."""
    metric = "r2" if run.data.examples.task == "regression" else "accuracy"
    figures, sizes = [], []
    for part in (run.data.splits.train, run.data.splits.test):
        known = select_labelled(part)
        known = known.select(torch.tensor(hashing.sample(known.size, COMPARED)))
        found = evaluation.metrics(evaluation.predict(as_learner(teacher.model), known))
        figures.append(found.get(metric, math.nan))
        sizes.append(known.size)
    inside, outside = figures
    # Three standard errors of the difference of two shares; for R2 the least gap alone decides.
    error = math.sqrt(sum(f * (1 - f) / n for f, n in zip(figures, sizes, strict=True))) if metric == "accuracy" else 0
    if inside - outside > max(GAP, 3 * error):
        name, unit = wording.name_of(metric), wording.unit_of(metric)
        yield Check(
            "warn",
            "teacher data",
            f"The teacher has {wording.figure(metric, inside)}{unit} {name} on training and "
            f"{wording.figure(metric, outside)}{unit} on test examples: it has learned the training rows by heart, and "
            "repeats their labels there. Teach on rows that it was not fitted on, or fit it less closely.",
        )
