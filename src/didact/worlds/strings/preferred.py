"""Judging which of two strings is preferred, with the reasoning before the choice."""

import functools
import re

import torch

from didact.types import Question, Questions
from didact.worlds._asking import questions_of
from didact.worlds._chance import uniform

_LETTERS, _SHORTEST, _LONGEST = "abcd", 9, 13
_DRAWN, _ASKED = 6000, 4000
_JUDGEMENT = re.compile(r"(\d+)([<>])(\d+)([AB])")


@functools.cache
def preferred() -> Questions:
    """Say which of two strings is preferred, the one with more of the letter a, and first count them.

    Real: nothing.

    Simulated: the strings, of 9 to 13 letters from a to d, drawn for each question; pairs with as many a are left out.

    Known: every answer, and whether a judgement agrees with its own counts. Of shorter strings, the prompt would be
    `abca,bbac:` and the completion `2>1A`: both counts, how they compare, and the choice, which is the answer (A for
    the first string).

    Returns:
        4,000 questions. The verifier is `chosen`, of this module; `reward` is that of the paper on R1-Reward.
    """
    asked = {question.prompt: question for question in map(_question, _drawn()) if question is not None}
    verifier = "didact.worlds.strings.preferred:chosen"
    return questions_of(list(asked.values())[:_ASKED], name="strings:preferred", verifier=verifier)


def chosen(text: str, question: Question) -> float:
    """1 if the choice at the end of a text is right, else 0."""
    return float(text[-1:] == question.answer)


def reward(text: str, question: Question) -> float:
    """The reward of a judgement: for its choice, more if its own counts agree with it, and for its form.

    chosen (1 + 0.5 consistent) + 0.5 formed (Zhang et al. 2025, R1-Reward); whether counts agree with the choice is
    judged from the text alone, where the paper asks a model.
    """
    right, found = chosen(text, question), _JUDGEMENT.fullmatch(text)
    if found is None:
        return right
    first, second, sign, choice = int(found[1]), int(found[3]), found[2], found[4]
    consistent = sign + choice == (">A" if first > second else "<B" if first < second else "")
    return right * (1.0 + 0.5 * consistent) + 0.5


def _drawn() -> list[tuple[str, str]]:
    chance = uniform(torch.arange(2 * _DRAWN), _LONGEST + 1, 0, "preferred strings")
    lengths = (_SHORTEST + chance[:, 0] * (_LONGEST - _SHORTEST + 1)).long().tolist()
    letters = (chance[:, 1:] * len(_LETTERS)).long().tolist()
    words = ["".join(_LETTERS[i] for i in row[:length]) for row, length in zip(letters, lengths, strict=True)]
    return list(zip(words[::2], words[1::2], strict=True))


def _question(pair: tuple[str, str]) -> Question | None:
    """The question on two strings; None where they have as many a."""
    counts = [word.count("a") for word in pair]
    if counts[0] == counts[1]:
        return None
    first = counts[0] > counts[1]
    answer = "A" if first else "B"
    completion = f"{counts[0]}{'>' if first else '<'}{counts[1]}{answer}"
    return Question(id=0, prompt=f"{pair[0]},{pair[1]}:", answer=answer, completion=completion)
