"""Addition with or without a scratchpad, for methods that trade length for accuracy."""

import dataclasses
import functools

import torch

from didact import hashing
from didact.types import Questions
from didact.worlds.addition.plain import scratchpad


@functools.cache
def optional_scratchpad() -> Questions:
    """Add two numbers of two digits, on a scratchpad or at once.

    Real: arithmetic.

    Simulated: the pairs of numbers, which are those of `addition:scratchpad`, and the half of them whose demonstration
    has no scratchpad, drawn once.

    Known: every answer, and two ways to it. The prompt is `37+85=` and the completion is the scratchpad of
    `addition:scratchpad`, which is long and easy, or `122` alone, which is short and hard; both have the same reward. A
    model that was fitted to them writes both, and is more accurate with the scratchpad.

    Returns:
        4,000 questions, with the `data` of `addition`. The verifier is `last_line`, of `plain`.
    """
    asked = scratchpad()
    straight = hashing.uniform(torch.tensor([q.id for q in asked]), 0, "addition_optional_scratchpad") < 0.5
    items = tuple(
        dataclasses.replace(question, completion=question.answer) if short else question
        for question, short in zip(asked, straight.tolist(), strict=True)
    )
    verifier = "didact.worlds.addition.plain:last_line"
    return dataclasses.replace(asked, items=items, name="addition:optional_scratchpad", verifier=verifier)
