"""Addition with explanations of two teachers, for models that learn from one after the other."""

import dataclasses
import functools

import torch

from didact import hashing
from didact.types import Question, Questions
from didact.worlds.addition.ways import ways

_EXPERT, _CARELESS = 0.2, 0.25


@functools.cache
def explained() -> Questions:
    """Add two numbers of two digits; two teachers explain how, one of whom is careless and the other rarely there.

    Real: arithmetic, and two ways in which people add.

    Simulated: the pairs of numbers, which are those of `addition:scratchpad`, the fifth of them that the expert
    explains, and the quarter in which the assistant forgets a carry, both drawn once.

    Known: every answer, and who is wrong where. The prompt is `37+85=` and the completion is `122` alone. In the column
    `assistant`, every question has an explanation that adds the tens and then the ones, in the lines `37+80=117`,
    `117+5=122` and `122`; where it forgets a carry, the sum is too small by ten. In the column `expert`, a fifth have
    the columns of `addition:scratchpad`, in the lines `7+5=12`, `3+8+1=12` and `122`.

    Returns:
        4,000 questions, with the `data` of `addition` and the explanations. The verifier is `numeric`.
    """
    asked = ways()
    ids = torch.tensor([question.id for question in asked])
    draws = (hashing.uniform(ids, place, "addition_explained").tolist() for place in range(2))
    items = tuple(_told(question, *drawn) for question, *drawn in zip(asked, *draws, strict=True))
    return dataclasses.replace(asked, items=items, name="addition:explained")


def _told(question: Question, expert: float, careless: float) -> Question:
    """The question with the explanations that two numbers in [0, 1) give it."""
    data = {name: value for name, value in question.data.items() if name != "rationales"}
    a, b = data["a"], data["b"]
    carries = a % 10 + b % 10 > 9
    right, tens = a + b, a + b // 10 * 10
    said = right - 10 if carries and careless < _CARELESS else right
    texts = {"assistant": f"{a}+{b // 10 * 10}={tens}\n{tens}+{b % 10}={said}\n{said}"}
    if expert < _EXPERT:
        texts["expert"] = question.data["rationales"]["columns"]
    return dataclasses.replace(question, completion=question.answer, data={**data, **texts})
