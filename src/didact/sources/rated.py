"""Questions with several answers of which it is known how good they are."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from didact.errors import DataError
from didact.sources.layouts import quote
from didact.types import Question, Questions

RATED = "rated"
"""Where `Question.data` holds rated answers: a list of mappings with `text` and `rating`."""


def rated_answers(questions: Questions) -> tuple[list[tuple[str, ...]], Tensor]:
    """The rated answers to each question.

    They lie in `Question.data` under `rated`, as they do in a column `rated` of a file: a list of mappings with the
    `text` of an answer and its `rating`, a number of which more is better.

    Args:
        questions: Q of them.

    Returns:
        The texts of each question's answers, and the ratings, float64 [Q, K] with NaN where a question has fewer
        answers than another.

    Raises:
        DataError: a question has no rated answers, or two of which none is better; or one of them has no text or no
            finite rating.
    """
    found = [[_answer(question, part) for part in _parts(question)] for question in questions]
    for question, answers in zip(questions, found, strict=True):
        if len({rating for _, rating in answers}) < 2:
            raise DataError(
                f"The question {quote(question.prompt)} has {len(answers)} rated answers of which none is better than "
                "another; leave such questions out."
            )
    rating = torch.full((len(found), max(map(len, found), default=0)), math.nan, dtype=torch.float64)
    for row, answers in enumerate(found):
        rating[row, : len(answers)] = torch.tensor([number for _, number in answers], dtype=torch.float64)
    return [tuple(text for text, _ in answers) for answers in found], rating


def _parts(question: Question) -> list[Any]:
    parts = question.data.get(RATED)
    if not isinstance(parts, list | tuple):
        raise DataError(
            f"The question {quote(question.prompt)} has no list of answers in {RATED!r}; give one, such as "
            '"rated": [{"text": "122", "rating": 5}, {"text": "112", "rating": 2}].'
        )
    return list(parts)


def _answer(question: Question, part: object) -> tuple[str, float]:
    text, rating = (part.get("text"), part.get("rating")) if isinstance(part, Mapping) else (None, None)
    number = float(rating) if isinstance(rating, int | float) and not isinstance(rating, bool) else math.nan
    if not isinstance(text, str) or not math.isfinite(number):
        raise DataError(
            f"The question {quote(question.prompt)} has {quote(repr(part))} among its rated answers; each must be like "
            '{"text": "122", "rating": 5}, with a finite number.'
        )
    return text, number
