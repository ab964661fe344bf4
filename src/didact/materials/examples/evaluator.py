"""Evaluation of a student of examples by its predictions for test examples."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch

from didact import evaluation, hashing
from didact.errors import ConfigError
from didact.experiment.material import Evaluation, Run
from didact.materials.examples import attacked, classes, segmentation, suspects, teacher_data, worth
from didact.materials.examples.answers import as_learner
from didact.materials.examples.data import ExampleData, select_labelled
from didact.materials.examples.source import train_of
from didact.memory import JudgesLabels
from didact.parts.part import Part
from didact.sources import switch_target
from didact.types import Batch, Examples

LOOKED_AT = 512
"""Labelled examples of validation, and of training, for monitors."""


def _some(examples: Examples) -> Batch:
    return examples.batch(torch.tensor(hashing.sample(examples.size, LOOKED_AT), dtype=torch.int64))


def _unfit(run: Run[ExampleData], what: str) -> ConfigError:
    """What is wrong with a student, for these data."""
    examples = run.data.examples
    if examples.task == "embedding":
        return ConfigError(
            f"student is {run.config.student!r}, which {' '.join(what.split())[:300]}, but embeddings of "
            f"{examples.outputs} are to be learned; give a student for these."
        )
    wanted = f"have {examples.outputs} classes: {', '.join(examples.classes)[:200]}"
    return ConfigError(
        f"student is {run.config.student!r}, which {' '.join(what.split())[:300]}, but the data {examples.name!r} "
        f"{wanted if examples.classes else 'have one number to predict'}; give a student for these."
    )


class ExampleEvaluator:
    """Evaluates a run on examples.

    Args:
        run: the run, with its teacher and data.

    Raises:
        ConfigError: the student does not read the inputs, or gives another number of outputs.
    """

    def __init__(self, run: Run[ExampleData]) -> None:
        self.run = run
        self.metric = "rmse" if run.data.examples.task == "regression" else run.data.metrics[0]
        self.validation = select_labelled(run.data.splits.validation)
        self.validates = bool(self.validation.size)
        classes = self.validates and run.data.examples.task == "classification"
        self.held_out = _some(self.validation) if classes else None
        self.held_in = _some(run.data.labelled) if classes and run.data.has_labels else None
        self.metrics = run.data.metrics
        few = train_of(run).select(torch.arange(1))
        try:
            width = evaluation.predict(run.method.delivered, few).logits.shape[-1]
        except RuntimeError as error:
            raise _unfit(run, f"cannot read inputs of shape {list(few.shape)} ({error})") from error
        if width != few.outputs:
            raise _unfit(run, f"gives {width} numbers for an example")

    def validate(self, student: Any) -> dict[str, float]:
        """Metrics on the validation examples with a label."""
        found = evaluation.metrics(evaluation.predict(student, self.validation))
        under = attacked.RADIUS in self.validation.tensors
        return {**found, **attacked.metrics(student, self.validation)} if under else found

    def test(self) -> Evaluation:
        """Metrics on the test examples with a label."""
        student = self.run.method.delivered
        if not self.run.data.has_labels:
            return self._agreement(student)
        test = select_labelled(self.run.data.splits.test)
        tested = evaluation.predict(student, test)
        robust = attacked.metrics(student, test) if attacked.RADIUS in test.tensors else {}
        found = Evaluation(
            metrics=self.run.data.order_metrics({**evaluation.metrics(tested), **robust}),
            validation=self.validate(student) if self.validates else {},
            teacher={},
            constant=self._constant(test),
            committee=worth.describe(self.run),
            diagnostics=evaluation.diagnostics(tested),
            labels=self.validation.size if self.run.config.select == "best" else 0,
        )
        # An encoder that teaches features alone has no answers to compare.
        answering = [part for part in self.run.teachers if getattr(part.model, "embeds", True) and not self.run.priced]
        return self._with_teacher(found, answering[0], test, tested) if len(answering) == 1 else found

    def _agreement(self, student: Any) -> Evaluation:
        """The agreement with the teacher alone, where no example has a label."""
        test = self.run.data.splits.test
        tested, asked = (evaluation.predict(one, test) for one in (student, as_learner(self.run.teachers[0].model)))
        return Evaluation(metrics=evaluation.agreement(tested, asked), validation={}, teacher={})

    def _constant(self, test: Examples) -> dict[str, float]:
        """The metrics of a constant answer, the commonest class or the mean; empty without training labels."""
        train = self.run.data.labelled
        return evaluation.metrics(evaluation.constant_predictions(train, test)) if train.size else {}

    def _with_teacher(
        self, found: Evaluation, teacher: Part, test: Examples, tested: evaluation.Predictions
    ) -> Evaluation:
        """The same with the teacher's metrics on the test examples, which are not charged to the student."""
        if teacher.target:
            test = switch_target(test, teacher.target, like=self.run.data.examples)
        asked = evaluation.predict(as_learner(teacher.model), test)
        if teacher.target:
            return dataclasses.replace(found, teacher=evaluation.metrics(asked))
        if asked.logits.shape != tested.logits.shape:
            # A net with classes of its own, of which only features are used.
            return found
        count, unseen = teacher_data.describe(teacher_data.find_seen(self.run, test), tested, asked)
        figures = {**evaluation.metrics(asked), **evaluation.agreement(tested, asked)}
        return dataclasses.replace(found, teacher=figures, teacher_seen=count, teacher_unseen=unseen)

    def notes(self, evaluation: Evaluation) -> Iterator[str]:
        """Notes on how the data were read, on classes, and on a teacher that may have seen the test examples."""
        yield from self.run.data.notes
        if not self.run.data.has_labels:
            yield "No example has a label: the metric is agreement with the teacher, right or wrong."
        elif self.run.data.examples.task == "segmentation":
            yield from segmentation.notes(self.run.data.examples, evaluation.diagnostics.get("confusion", []))
        elif self.run.data.examples.task == "classification":
            yield from classes.notes(self.run.data.splits, evaluation.diagnostics.get("confusion", []))
        yield from teacher_data.notes(self.run, evaluation)
        yield from worth.notes(evaluation.committee)
        if isinstance(self.run.method, JudgesLabels):
            yield suspects.note(self.run)
        if evaluation.teacher.get("accuracy") == 1.0 and evaluation.teacher_seen is None:
            yield (
                "The teacher is right on every single test example; if it was fitted on them, these figures flatter it "
                "and the student. Fit it on other examples."
            )
