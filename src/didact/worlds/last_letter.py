"""Letters to choose from, each a completion with a known rating."""

import functools
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
