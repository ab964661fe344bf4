"""Addition with second tries: some prompts have an earlier attempt, and ask for another."""

import dataclasses
import functools

import torch

from didact import hashing
from didact.types import Question, Questions
from didact.worlds._asking import questions_of
from didact.worlds.addition.plain import pairs

AGAIN = "? Again: "
"""The text between an attempt and the next."""
_FIRST, _RIGHT, _MISCARRIED = 0.2, 0.25, 0.625
"""The share of first tries; of the others, that of right attempts, and the cumulative share with carry mistakes."""


@functools.cache
def second_try() -> Questions:
    """Add two numbers of two digits, at once or after an attempt that may be right or wrong.

    Real: arithmetic, and two kinds of mistakes that beginners make.

    Simulated: the pairs of numbers, which are those of `addition`, each asked in one way alone; and the attempts, drawn
    once: one in four is right, and of the others half have the mistake of `addition:pairs`, and half one digit that
    is too high or too low by one (9 and 0 are neighbours).

    Known: every answer, and whether the attempt was right. The prompt is `37+85=` for one question in five, and for the
    others `37+85=211? Again: `; the completion is `221` for either, the reversed digits of the sum. A model that
    repeats the attempt is right on one in four of the second kind, so that a higher accuracy requires correction.

    Returns:
        4,000 questions; `data` has that of `addition`, and for the second kind the prompt without the attempt, `first`,
        and the `attempt`. The verifier is `exact`.
    """
    asked = pairs()
    chance = [hashing.uniform(torch.tensor([q.id for q in asked]), place, "second try").tolist() for place in range(3)]
    items = (_asked(question, *drawn) for question, *drawn in zip(asked, *chance, strict=True))
    return questions_of(items, name="addition:second_try", verifier="exact")


def _asked(question: Question, kind: float, mistake: float, slip: float) -> Question:
    """The question in one of its two forms, by three numbers in [0, 1)."""
    plain = dataclasses.replace(question, rejected=None)
    if kind < _FIRST:
        return plain
    answer, other = question.answer or "", question.rejected or ""
    attempt = answer if mistake < _RIGHT else other if mistake < _MISCARRIED else _slipped(answer, slip)
    data = {**question.data, "first": question.prompt, "attempt": attempt}
    return dataclasses.replace(plain, prompt=question.prompt + attempt + AGAIN, data=data)


def _slipped(answer: str, chance: float) -> str:
    """The answer with one digit changed by one; a number in [0, 1) selects the digit and the direction."""
    place, step = divmod(int(chance * 2 * len(answer)), 2)
    digit = (int(answer[place]) + 2 * step - 1) % 10
    return answer[:place] + str(digit) + answer[place + 1 :]
