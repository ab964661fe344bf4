"""Evaluation of a student of embeddings: by the similarities and the neighbours of its teacher's."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

from didact import evaluation
from didact.errors import ConfigError
from didact.evaluation import Predictions
from didact.experiment.material import Evaluation, Run
from didact.materials.examples.answers import as_learner
from didact.materials.examples.data import ExampleData
from didact.materials.examples.evaluator import ExampleEvaluator
from didact.types import Examples

LEAST = 3
"""Examples between which there are similarities to compare."""


class EmbeddingEvaluator(ExampleEvaluator):
    """Evaluates a run whose student learns a teacher's embeddings; see `ExampleEvaluator`."""

    def __init__(self, run: Run[ExampleData]) -> None:
        super().__init__(run)
        if run.data.splits.test.size < LEAST:
            raise ConfigError(f"There are {run.data.splits.test.size} test examples; give {LEAST} or more to compare.")
        self.metric, self.validation = run.data.metrics[0], run.data.splits.validation
        self.validates, self.held_out, self.held_in = self.validation.size >= LEAST, None, None

    @cached_property
    def _wanted(self) -> Predictions:
        """The teacher's embeddings of the validation examples, which are made once."""
        return self._asked(self.validation)

    def _asked(self, examples: Examples) -> Predictions:
        return evaluation.predict(as_learner(self.run.teachers[0].model), examples)

    def validate(self, student: Any) -> dict[str, float]:
        """How the student's embeddings of the validation examples compare with the teacher's."""
        return evaluation.compare_embeddings(evaluation.predict(student, self.validation).logits, self._wanted.logits)

    def test(self) -> Evaluation:
        """The same of the test examples."""
        student, test = self.run.method.delivered, self.run.data.splits.test
        found = evaluation.compare_embeddings(evaluation.predict(student, test).logits, self._asked(test).logits)
        return Evaluation(metrics=found, validation=self.validate(student) if self.validates else {}, teacher={})

    def notes(self, evaluation: Evaluation) -> Iterator[str]:
        """What the figures compare with."""
        yield from self.run.data.notes
        yield "The figures compare the student's embeddings with the teacher's, whatever those are worth."
