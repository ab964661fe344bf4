"""A verifier with the scorers of reasoning-gym's tasks."""

from collections.abc import Mapping, Sequence

from didact.documents import Document
from didact.errors import DataError
from didact.teachers.verifiers.answers import require
from didact.teachers.verifiers.base import Verifier
from didact.teachers.verifiers.scorer import Scorer
from didact.types import Question


class ReasoningVerifier(Verifier):
    """The score of the text by the scorer of a reasoning-gym task, in [0, 1].

    The question's data has the task's `metadata`, with reasoning-gym's name of the task as `source_dataset`. Some
    scorers evaluate the text as an expression, which can run any code: they run in a sandboxed process.

    Args:
        seconds: the time limit of one completion.

    Raises:
        MissingExtraError: reasoning-gym is not installed.
    """

    needs_data = ("metadata",)

    def __init__(self, *, seconds: float = 10.0) -> None:
        super().__init__()
        require("reasoning_gym", "The verifier reasoning_gym")
        entry = {"question": "", "answer": "1", "metadata": {"source_dataset": "basic_arithmetic"}}
        self._scorer = Scorer("reasoning_gym", seconds=seconds, warm=_request("1", "basic_arithmetic", entry))

    def __str__(self) -> str:
        """`reasoning_gym`."""
        return "reasoning_gym"

    def check(self, questions: Sequence[Question]) -> None:
        """Raise `DataError` if a question does not name its task."""
        super().check(questions)
        for question in questions:
            metadata = question.data["metadata"]
            if not isinstance(metadata, Mapping) or not isinstance(metadata.get("source_dataset"), str):
                raise DataError(
                    f"Question {question.id} has metadata {metadata!r:.80} without a 'source_dataset', the name of the "
                    "reasoning-gym task that it is of."
                )

    def score(self, text: str, question: Question) -> float:
        """In [0, 1]."""
        metadata = dict(question.data["metadata"])
        entry = {"question": question.prompt, "answer": question.answer, "metadata": metadata}
        return self._scorer.ask(**_request(text.strip(), metadata["source_dataset"], entry))


def _request(text: str, dataset: str, entry: Document) -> Document:
    return {"dataset": dataset, "text": text, "entry": entry}
