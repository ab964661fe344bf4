"""A cache of another model's completions, and reference completions that are not trained on."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from didact.documents import State
from didact.errors import DataError
from didact.rollouts.layout import answer_rows
from didact.rollouts.rated import check_completions
from didact.rollouts.writer import Writer
from didact.types import Batch, Question, Questions

GOLDEN = "golden"
"""The key in `Question.data` of a reference completion that is not trained on."""


class CompletionCache:
    """Completions by a model, written when a prompt first comes up and reused afterwards; `Stateful`."""

    def __init__(self) -> None:
        self.answers: dict[int, list[list[int]]] = {}

    def batch(self, writer: Writer, questions: Sequence[Question], by: Any) -> Batch:
        """Completions of some prompts.

        Args:
            writer: its sampling determines the number of completions per prompt.
            questions: at least one.
            by: the model that writes missing completions.

        Returns:
            Rows like those of `Writer.encode`, without log-probabilities.
        """
        new = {question.id: question for question in questions if question.id not in self.answers}
        if new:
            found = writer.write(list(new.values()), by=by, verify=False).batch
            for ids, mask, question in zip(found["input_ids"], found["completion_mask"], found["id"], strict=True):
                self.answers.setdefault(int(question), []).append(ids[mask].tolist())
        tokenizer = writer.learner.tokenizer
        kept = [(question, answer) for question in questions for answer in self.answers[question.id]]
        prompts, answers = [tokenizer.prompt(question) for question, _ in kept], [answer for _, answer in kept]
        rows = answer_rows(prompts, answers, pad=tokenizer.pad)
        ids = torch.tensor([question.id for question, _ in kept])
        return Batch({**rows, "id": ids, "group": ids})

    def state_dict(self) -> State:
        """The completions, concatenated, with their prompts' ids and lengths."""
        rows = [(question, answer) for question, answers in self.answers.items() for answer in answers]
        return {
            "questions": _whole(question for question, _ in rows),
            "lengths": _whole(len(answer) for _, answer in rows),
            "tokens": _whole(token for _, answer in rows for token in answer),
        }

    def load_state_dict(self, state: State, /) -> None:
        """Restore the result of `state_dict`."""
        self.answers = {}
        parts = state["tokens"].split(state["lengths"].tolist())
        for question, tokens in zip(state["questions"].tolist(), parts, strict=True):
            self.answers.setdefault(question, []).append(tokens.tolist())


def _whole(numbers: Any) -> Tensor:
    return torch.tensor(list(numbers), dtype=torch.int64)


def oracle_completions(questions: Questions, learner: Any) -> dict[int, str]:
    """Reference completions, by the ids of their questions.

    They are in `Question.data` under `golden`; without it, the question's completion is used.

    Args:
        questions: each with one or the other.
        learner: a `CausalLearner`, whose context they must fit.

    Raises:
        DataError: a question has neither.
        ConfigError: a completion exceeds the learner's context.
    """
    found = {}
    for question in questions:
        answer = question.data.get(GOLDEN) or question.completion
        if not isinstance(answer, str):
            raise DataError(
                f"The question {question.prompt[:60]!r} has neither a completion nor {GOLDEN!r}, an answer to compare "
                "the student with; give one, or leave that question out."
            )
        check_completions(question, (answer,), learner)
        found[question.id] = answer
    return found
