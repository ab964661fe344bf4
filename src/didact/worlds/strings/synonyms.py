"""Translations of words that have a short and a long synonym, for rewards of the length."""

import functools
import re
from math import comb

import torch

from didact.types import Question, Questions
from didact.worlds._asking import questions_of
from didact.worlds._chance import uniform

_LETTERS, _DRAWN, _QUESTIONS = "abcdefgh", 3000, 2000
_SHORTEST, _LONGEST = 3, 6
TOLERANCE = 0.1
"""How far the lengths of a sentence and its translation may differ, as a share of the sentence's."""
_LONG = 0.25
"""The chance that a demonstration takes the long synonym."""


@functools.cache
def synonyms() -> Questions:
    """Translate three to six words, each of which has a short and a long translation, to a text of the same length.

    Real: nothing.

    Simulated: the sentences, of eight words, `a.` to `h.`, which have two characters each; and the demonstrations,
    which take the short translation of a word, such as `A`, three times as often as the long one, `A-a`.

    Known: all right translations, and their lengths. The prompt is `c.a.f.=` and `CA-aF` is one of its eight
    translations. A sentence of n words has 2n characters, and its translation n + 2k, if k words take the long one: the
    lengths differ by at most a tenth if k is 2 of four words, 2 or 3 of five, and 3 of six; three words have no such
    translation. `chance_of_length` gives how often that is so if words are chosen at random: for 18% of the
    demonstrations.

    Returns:
        2,000 questions; the completion is a demonstration, and `data` has the number of `words`. The verifier is
        `meaning`, of this module; `same_length` is the other reward.
    """
    chance = uniform(torch.arange(_DRAWN), 1 + 2 * _LONGEST, 0, "strings:synonyms")
    counts = (_SHORTEST + chance[:, 0] * (_LONGEST - _SHORTEST + 1)).long().tolist()
    words = (chance[:, 1 : 1 + _LONGEST] * len(_LETTERS)).long().tolist()
    long = (chance[:, 1 + _LONGEST :] < _LONG).tolist()
    drawn = {
        "".join(_LETTERS[word] for word in row[:count]): taken
        for row, taken, count in zip(words, long, counts, strict=True)
    }
    items = [_question(sentence, taken) for sentence, taken in list(drawn.items())[:_QUESTIONS]]
    return questions_of(items, name="strings:synonyms", verifier="didact.worlds.strings.synonyms:meaning")


def _question(sentence: str, long: list[bool]) -> Question:
    said = "".join(f"{w.upper()}-{w}" if longer else w.upper() for w, longer in zip(sentence, long, strict=False))
    prompt = "".join(f"{word}." for word in sentence) + "="
    return Question(id=0, prompt=prompt, answer=sentence, completion=said, data={"words": len(sentence)})


def meaning(text: str, question: Question) -> float:
    """1 if a text is a translation of the sentence, else 0."""
    found = re.fullmatch(r"(?:[A-H](?:-[a-h])?)*", text) and re.findall(r"([A-H])(?:-([a-h]))?", text)
    if not found or any(long not in ("", short.lower()) for short, long in found):
        return 0.0
    return float("".join(short.lower() for short, _ in found) == question.answer)


def same_length(text: str, question: Question) -> float:
    """1 if the length of a text differs from that of the sentence by at most a tenth, else 0."""
    length = 2 * question.data["words"]
    return float(abs(len(text) - length) <= TOLERANCE * length)


def chance_of_length(words: int, long: float = _LONG) -> float:
    """The chance that a random translation has the length of its sentence.

    Args:
        words: of the sentence.
        long: the chance of the long synonym of each word.
    """
    fits = (k for k in range(words + 1) if abs(2 * k - words) <= TOLERANCE * 2 * words)
    return sum(comb(words, k) * long**k * (1 - long) ** (words - k) for k in fits)
