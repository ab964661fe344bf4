"""Tasks on strings, of which one is to be forgotten."""

import dataclasses
import functools

import torch

from didact import hashing
from didact.types import Question, Questions
from didact.worlds._asking import questions_of
from didact.worlds.rewriting import rewriting

FORGOTTEN = "reverse"
"""The rule that is to be forgotten."""


@functools.cache
def forgetting() -> Questions:
    """Rewrite short strings by three rules, and forget a fourth.

    Real: nothing.

    Simulated: the strings and rules, which are those of `rewriting`. Completions that reverse a string are to be
    forgotten: in `data`, `forget` is true for them.

    Known: every answer. A model that knows all rules has an accuracy of 75%, as one that has forgotten the right one
    and nothing else has 100%; one that writes nonsense has 25%.

    Returns:
        4,000 questions, with the `data` of `rewriting` and `forget`. The verifier is `forgotten_or_right`.
    """
    known = rewriting()
    # In another order, as the first of them are those that a student is watched on.
    order = hashing.keyed_hash(torch.tensor([question.id for question in known]), 0, "forgetting").argsort().tolist()
    asked = (
        dataclasses.replace(q, data={**q.data, "forget": q.data["rule"] == FORGOTTEN}) for q in known.select(order)
    )
    verifier = "didact.worlds.strings.forgetting:forgotten_or_right"
    return questions_of(asked, name="strings:forgetting", verifier=verifier)


def forgotten_or_right(text: str, question: Question) -> float:
    """1 for the answer, or where that is to be forgotten for anything else, and 0 otherwise."""
    return float((text == question.answer) != question.data["forget"])
