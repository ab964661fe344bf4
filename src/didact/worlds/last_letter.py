"""Letters to choose from, each a completion with a known rating."""

import dataclasses
import functools
import itertools
import string
from collections.abc import Iterator

import torch

from didact.types import Question, Questions
from didact.worlds._asking import questions_of
from didact.worlds._chance import uniform

_QUESTIONS, _GIVEN = 4000, 4


@functools.cache
def last_letter() -> Questions:
    """Find the last of four letters in the alphabet; each of them is a completion, rated by its place.

    Real: the alphabet.

    Simulated: the letters, all different, drawn without replacement for each question.

    Known: how good each answer is. The prompt is `kdxp=` and both the answer and the completion are `x`; `rejected` is
    the first in the alphabet, `d`; `data` has all four as `rated`, with the letter's place in the alphabet (1 to 26) as
    the rating. Letters that are neighbours in the alphabet are the hardest to tell apart.

    Returns:
        4,000 questions; the verifier is `exact`.
    """
    return questions_of(_asked(), name="last_letter", verifier="exact")


def _asked() -> Iterator[Question]:
    letters = string.ascii_lowercase
    chance = uniform(torch.arange(_QUESTIONS + 200), len(letters), 0, "last_letter")
    drawn = ("".join(letters[i] for i in row) for row in chance.argsort(1)[:, :_GIVEN].tolist())
    for word in list(dict.fromkeys(drawn))[:_QUESTIONS]:
        rated = [{"text": letter, "rating": letters.index(letter) + 1} for letter in word]
        best = max(word)
        yield Question(id=0, prompt=f"{word}=", answer=best, completion=best, rejected=min(word), data={"rated": rated})


@functools.cache
def compared() -> Questions:
    """Find the last of four letters in the alphabet, from comparisons of two of them.

    Real: the alphabet.

    Simulated: the letters, which are those of `last_letter`; and for each question which two of them are compared,
    drawn once.

    Known: how good each answer is, and what fitting the preferred completions leads to. The prompt is `kdxp=` and the
    answer `x`. Of two of the four letters, the later in the alphabet is the `completion` and the other is `rejected`.
    The last letter is in half of the comparisons and preferred in each; the second is preferred in a third of all, and
    the third in a sixth, which are the shares that a model of the preferred completions gives to them.

    Returns:
        4,000 questions, with the `data` of `last_letter`; the verifier is `exact`.
    """
    asked = last_letter()
    order = uniform(torch.tensor([q.id for q in asked]), _GIVEN, 0, "last_letter: compared").argsort(1).tolist()
    pairs = (sorted(question.prompt[place] for place in row[:2]) for question, row in zip(asked, order, strict=True))
    items = (
        dataclasses.replace(question, completion=later, rejected=earlier)
        for question, (earlier, later) in zip(asked, pairs, strict=True)
    )
    return dataclasses.replace(asked, items=tuple(items), name="last_letter:compared")


@functools.cache
def attempted() -> Questions:
    """Find the last of four letters in the alphabet, at once or after an attempt that may be right or wrong.

    Real: the alphabet.

    Simulated: the letters, which are those of `last_letter`; and the attempts of half of the questions, drawn once: any
    of the four letters.

    Known: every answer, and whether the attempt was right, as one in four is. The prompt is `kdxp=` for one half, and
    `kdxp=d? Again: ` for the other; the completion is `x` for either.

    Returns:
        4,000 questions; for the second kind, `data` has the prompt without the attempt, `first`, and the `attempt`. The
        verifier is `exact`.
    """
    asked = last_letter()
    chance = uniform(torch.tensor([q.id for q in asked]), 2, 0, "last_letter: attempted").tolist()
    items = (_attempted(question, *drawn) for question, drawn in zip(asked, chance, strict=True))
    return questions_of(items, name="last_letter:attempted", verifier="exact")


def _attempted(question: Question, kind: float, letter: float) -> Question:
    """The question in one of its two forms, by two numbers in [0, 1)."""
    plain = dataclasses.replace(question, rejected=None, data={})
    if kind < 0.5:
        return plain
    attempt = question.prompt[int(letter * _GIVEN)]
    data = {"first": question.prompt, "attempt": attempt}
    return dataclasses.replace(plain, prompt=f"{question.prompt}{attempt}? Again: ", data=data)


@functools.cache
def explained() -> Questions:
    """Find the last of four letters in the alphabet, with three explanations of each answer.

    Real: the alphabet.

    Simulated: the letters, which are those of `last_letter`.

    Known: every answer, and three ways to it, which `data` has under `rationales` by the names of the solvers. For
    `kdxp=`, whose completion is `x`, `order` writes the letters in their order, `dkpx`; `rounds` writes the last letter
    so far, `kkxx`; and `places` writes the place of each in the alphabet, `11 4 24 16 x`. All end in the answer.

    Returns:
        4,000 questions; the verifier is `exact`.
    """
    asked = last_letter()
    items = (dataclasses.replace(q, rejected=None, data={"rationales": _ways(q.prompt[:_GIVEN])}) for q in asked)
    return dataclasses.replace(asked, items=tuple(items), name="last_letter:explained")


def _ways(word: str) -> dict[str, str]:
    places = (str(string.ascii_lowercase.index(letter) + 1) for letter in word)
    return {
        "order": "".join(sorted(word)),
        "rounds": "".join(itertools.accumulate(word, max)),
        "places": " ".join([*places, max(word)]),
    }
