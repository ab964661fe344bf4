"""Addition with rationales of several solvers, for methods that learn from more than one teacher."""

import dataclasses
import functools

import torch

from didact import hashing
from didact.types import Question, Questions
from didact.worlds.addition.plain import scratchpad


@functools.cache
def ways() -> Questions:
    """Add two numbers of two digits, in one of three ways that can be written down.

    Real: arithmetic, and three ways in which people add.

    Simulated: the pairs of numbers, which are those of `addition:scratchpad`, and the way in each question's
    demonstration, drawn once.

    Known: every answer, and three ways to it, which `data` has under `rationales` by the names of the solvers. Of
    `37+85`, `columns` adds digit by digit, as `addition:scratchpad` does; `steps` adds the tens and then the ones, in
    the lines `37+80=117`, `117+5=122` and `122`; and `rounding` adds to the next ten and takes back what was too much,
    in the lines `40+85=125`, `125-3=122` and `122`. All end in the sum, which is the answer. A model that is fitted to
    the demonstrations writes all three.

    Returns:
        4,000 questions, with the `data` of `addition` besides. The verifier is `last_line`, of `plain`.
    """
    asked = scratchpad()
    chance = hashing.uniform(torch.tensor([q.id for q in asked]), 0, "addition_ways").tolist()
    items = tuple(_worked(question, draw) for question, draw in zip(asked, chance, strict=True))
    verifier = "didact.worlds.addition.plain:last_line"
    return dataclasses.replace(asked, items=items, name="addition:ways", verifier=verifier)


def _worked(question: Question, draw: float) -> Question:
    a, b = question.data["a"], question.data["b"]
    tens, rounded = b // 10 * 10, -(-a // 10) * 10
    ways = {
        "columns": question.completion or "",
        "steps": f"{a}+{tens}={a + tens}\n{a + tens}+{b % 10}={a + b}\n{a + b}",
        "rounding": f"{rounded}+{b}={rounded + b}\n{rounded + b}-{rounded - a}={a + b}\n{a + b}",
    }
    chosen = list(ways.values())[int(draw * len(ways))]
    return dataclasses.replace(question, completion=chosen, data={**question.data, "rationales": ways})
