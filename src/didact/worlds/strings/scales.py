"""Tasks on strings whose rewards have very different sizes."""

import dataclasses
import functools

from didact.types import Question, Questions
from didact.worlds._asking import questions_of
from didact.worlds.rewriting import rewriting

SCALES = {"reverse": 0.01, "sort": 0.1, "replace": 1.0, "duplicate": 10.0}
"""The reward of a right completion, by rule."""


@functools.cache
def scales() -> Questions:
    """Rewrite short strings by four rules, whose rewards differ by a factor of a thousand.

    Real: nothing.

    Simulated: the strings and rules, which are those of `rewriting`; and the rewards, 0.01, 0.1, 1 and 10 for a right
    completion.

    Known: every answer. Sums of raw rewards are decided by one rule of four; advantages in units of their group's
    standard deviation are the same for all. `data` has the `scale` besides the `rule`.

    Returns:
        4,000 questions. The verifier is `exact`; `didact.worlds.strings.scales:scaled` gives the rewards.
    """
    asked = (dataclasses.replace(q, data={**q.data, "scale": SCALES[q.data["rule"]]}) for q in rewriting())
    return questions_of(asked, name="strings:scales", verifier="exact")


def scaled(text: str, question: Question) -> float:
    """The scale of the question's rule if the text is the answer, else 0."""
    return question.data["scale"] if text == question.answer else 0.0
