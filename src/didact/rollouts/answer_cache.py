"""Answers that another model wrote once, and answers of the data that nobody learns from."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from didact.documents import State
from didact.errors import DataError
from didact.rollouts.layout import pad_rows
from didact.rollouts.rated import check_answers
from didact.rollouts.writer import Writer
from didact.types import Batch, Question, Questions

GOLDEN = "golden"
"""Where `Question.data` holds an answer that is only looked at."""


class AnswerCache:
    """Answers by a model to each question, written when it first comes up and the same ever after; `Stateful`."""

    def __init__(self) -> None:
        self.answers: dict[int, list[list[int]]] = {}

    def batch(self, writer: Writer, questions: Sequence[Question], by: Any) -> Batch:
        """Answers to some questions.

        Args:
            writer: its sampling says how many answers each question gets.
            questions: at least one.
            by: the model that writes what is not there yet.

        Returns:
            Rows as those of `Writer.encode`, without log-probabilities.
        """
        new = {question.id: question for question in questions if question.id not in self.answers}
        if new:
            found = writer.write(list(new.values()), by=by, verify=False).batch
            for ids, mask, question in zip(found["input_ids"], found["completion_mask"], found["id"], strict=True):
                self.answers.setdefault(int(question), []).append(ids[mask].tolist())
        tokenizer = writer.learner.tokenizer
        kept = [(question, answer) for question in questions for answer in self.answers[question.id]]
        tokens = [torch.tensor(answer) for _, answer in kept]
        rows = pad_rows(
            [tokenizer.prompt(question) for question, _ in kept],
            torch.nn.utils.rnn.pad_sequence(tokens, batch_first=True),
            torch.tensor(list(map(len, tokens))),
            pad=tokenizer.pad,
        )
        ids = torch.tensor([question.id for question, _ in kept])
        return Batch({**rows, "id": ids, "group": ids})

    def state_dict(self) -> State:
        """The answers, end to end, with their questions and lengths."""
        rows = [(question, answer) for question, answers in self.answers.items() for answer in answers]
        return {
            "questions": _whole(question for question, _ in rows),
            "lengths": _whole(len(answer) for _, answer in rows),
            "tokens": _whole(token for _, answer in rows for token in answer),
        }

    def load_state_dict(self, state: State, /) -> None:
        """Take back what `state_dict` gave."""
        self.answers = {}
        parts = state["tokens"].split(state["lengths"].tolist())
        for question, tokens in zip(state["questions"].tolist(), parts, strict=True):
            self.answers.setdefault(question, []).append(tokens.tolist())


def _whole(numbers: Any) -> Tensor:
    return torch.tensor(list(numbers), dtype=torch.int64)


def oracle_answers(questions: Questions, learner: Any) -> dict[int, str]:
    """Answers by which a learner is compared with what is true, by the ids of their questions.

    They lie in `Question.data` under `golden`; where there is none, the completion stands for it.

    Args:
        questions: each with one or the other.
        learner: a `CausalLearner` that is to read them.

    Raises:
        DataError: a question has neither.
        ConfigError: an answer that the learner cannot read as a whole.
    """
    found = {}
    for question in questions:
        answer = question.data.get(GOLDEN) or question.completion
        if not isinstance(answer, str):
            raise DataError(
                f"The question {question.prompt[:60]!r} has neither a completion nor {GOLDEN!r}, an answer to compare "
                "the student with; give one, or leave that question out."
            )
        check_answers(question, (answer,), learner)
        found[question.id] = answer
    return found
