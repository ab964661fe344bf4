"""Prompts with many right completions, for methods that should keep them diverse."""

import functools

import torch

from didact import hashing
from didact.types import Question, Questions
from didact.worlds._asking import questions_of

_PROBLEMS, _GIVEN, _TAKEN = 4000, 6, 3
_DRAWN = 4200
"""The number of orders of digits that are drawn; a few of them are equal."""


@functools.cache
def choosing() -> Questions:
    """Choose three of six digits, and write them in rising order.

    Real: nothing but the order of digits.

    Simulated: the 4,000 prompts, six different digits each in random order, no two alike; and which three of them the
    completion has, all 20 choices being as likely.

    Known: all right answers and how likely each should be. The prompt is `730916:` and a completion is `379`; any three
    of the six in rising order are right. A model that is uniform over right completions has an entropy of log 20 = 3.0
    nats, which is also the lowest mean negative log-likelihood of whole completions, 0.75 nats per token with the end;
    a model that always gives the same right completion is as accurate, and has a very high negative log-likelihood.

    Returns:
        4,000 questions, whose `answer` has the six digits in rising order. The verifier is `score_choice`, of this
        module.
    """
    order = hashing.keyed_hash(torch.arange(_DRAWN * 10), 0, "choosing").view(-1, 10).argsort(1)[:, :_GIVEN]
    asked = list(dict.fromkeys(tuple(row) for row in order.tolist()))[:_PROBLEMS]
    picked = hashing.keyed_hash(torch.arange(_PROBLEMS * _GIVEN), 0, "choosing/completion").view(-1, _GIVEN).argsort(1)
    items = (_question(digits, places[:_TAKEN]) for digits, places in zip(asked, picked.tolist(), strict=True))
    return questions_of(items, name="choosing", verifier="didact.worlds.choosing:score_choice")


def score_choice(text: str, question: Question) -> float:
    """1 if a text is three of the digits of a question in rising order, else 0."""
    digits = iter(question.answer or "")
    return float(len(text) == _TAKEN and all(character in digits for character in text))


def _question(digits: tuple[int, ...], places: list[int]) -> Question:
    completion = "".join(map(str, sorted(digits[place] for place in places)))
    return Question(
        id=0, prompt="".join(map(str, digits)) + ":", answer="".join(map(str, sorted(digits))), completion=completion
    )
