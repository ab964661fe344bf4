"""The mechanism of `personalised`."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.policies import LETTERS, LetterWriter, speaker
from didact.mechanisms.world import coefficient, gradient, normal
from didact.methods.language.personalised import Config, Personalised
from didact.teachers import LanguageTeacher
from didact.types import Question

P, V = 60, 5
AGAIN = "? Again: "


class _Tutor(LetterWriter):
    """Attempts of a student with verdicts, and the right answers of a teacher."""

    def __init__(self, asked: Sequence[Question], attempts: Sequence[str], right: Tensor) -> None:
        again = [question.prompt + attempt + AGAIN for question, attempt in zip(asked, attempts, strict=True)]
        super().__init__([*(question.prompt for question in asked), *again])
        self.attempts, self.right = attempts, right
        self.learner: Any = speaker(torch.zeros(1, V))

    def write(self, questions: Sequence[Question], *, by: object = None, **_options: object) -> SimpleNamespace:
        """The student's attempts at all tasks, or the teacher's answers."""
        if by is not None:
            return SimpleNamespace(texts=[question.answer for question in questions])
        batch = {"reward": self.right.float(), "trust": torch.ones(len(questions))}
        return SimpleNamespace(batch=batch, questions=questions, texts=self.attempts)

    def rewards(self, texts: Sequence[str], questions: Sequence[Question], _lengths: Tensor) -> SimpleNamespace:
        """Right answers have a reward of 1."""
        right = [float(text == question.answer) for text, question in zip(texts, questions, strict=True)]
        return SimpleNamespace(value=torch.tensor(right), trust=None)


@mechanism(
    world="A student that is a table and fails at half of its tasks, and a teacher that mends every attempt.",
    effect="The lessons are the refinements of the failures alone, after the task and after the failed attempt: there "
    "the gradient is the probabilities less one for the refinement, and elsewhere nothing.",
    control="The verdicts on the attempts are shuffled among the tasks.",
    breaks=("flip completion_cross_entropy", "drop completion_cross_entropy", "bypass retry_questions"),
)
def failures_alone_are_taught(seed: int) -> Found:
    """The gradient's coefficient on the closed form at failures, less that at the other tasks."""
    generator = torch.Generator().manual_seed(seed)
    table, right = normal(2 * P, V, seed=seed), torch.arange(P) % 2 == 0
    answers = torch.randint(V, (P,), generator=generator)
    attempts = [LETTERS[letter] for letter in torch.where(right, answers, (answers + 1) % V).tolist()]
    asked = [Question(id=i, prompt=f"{i}=", answer=LETTERS[letter]) for i, letter in enumerate(answers.tolist())]
    onehot = torch.zeros(2 * P, V).scatter(1, answers.repeat(2).unsqueeze(1), 1.0)
    closed = (table.softmax(1) - onehot) / P
    failed = (~right).repeat(2)

    def measured(verdicts: Tensor) -> float:
        method = Personalised(Config(again=AGAIN), speaker(table), LanguageTeacher(speaker(table)))
        found = gradient(method, method.collect(asked, _Tutor(asked, attempts, verdicts)))
        return coefficient(found[failed], closed[failed]) - coefficient(found[~failed], closed[~failed])

    control = measured(right[torch.randperm(P, generator=generator)])
    return Found(effect=measured(right), predicted=near(1.0), control=control, null=(-0.4, 0.4))
