"""Short strings that are rewritten by a rule in the prompt."""

import functools
from collections.abc import Callable, Iterator

import torch

from didact.types import Question, Questions
from didact.worlds._asking import questions_of
from didact.worlds._chance import uniform

_LETTERS = "abcdefgh"
_SHORTEST, _LONGEST = 2, 6
_EACH, _DRAWN = 1000, 1500

_RULES: dict[str, Callable[[str], str]] = {
    "reverse": lambda word: word[::-1],
    "sort": lambda word: "".join(sorted(word)),
    "replace": lambda word: word.replace(word[0], "x"),
    "duplicate": lambda word: word + word,
}


@functools.cache
def rewriting() -> Questions:
    """Rewrite a short string: reverse it, sort its letters, replace one of them, or write it twice.

    Real: nothing.

    Simulated: the strings, of 2 to 6 letters from a to h, drawn for each rule; no string comes twice with a rule.

    Known: every answer, and how hard it is: `data` has the `rule` and the `length` of the string. `reverse cab=` gives
    `bac`, `sort cab=` gives `abc`, `replace cac=` gives `xax` (its first letter becomes x wherever it is), and
    `duplicate cab=` gives `cabcab`.

    Returns:
        4,000 questions, 1,000 per rule. The completion is the answer; the verifier is `exact`.
    """
    return questions_of((q for rule in _RULES for q in _asked(rule)), name="rewriting", verifier="exact")


def _asked(rule: str) -> Iterator[Question]:
    chance = uniform(torch.arange(_DRAWN), _LONGEST + 1, 0, f"rewriting: {rule}")
    lengths = (_SHORTEST + chance[:, 0] * (_LONGEST - _SHORTEST + 1)).long().tolist()
    letters = (chance[:, 1:] * len(_LETTERS)).long().tolist()
    drawn = ("".join(_LETTERS[i] for i in row[:length]) for row, length in zip(letters, lengths, strict=True))
    for word in list(dict.fromkeys(drawn))[:_EACH]:
        answer, data = _RULES[rule](word), {"rule": rule, "length": len(word)}
        yield Question(id=0, prompt=f"{rule} {word}=", answer=answer, completion=answer, data=data)
