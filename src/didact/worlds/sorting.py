"""Sorting letters one by one, with careless demonstrations unless the answer is shown."""

import functools
from collections.abc import Sequence

import torch

from didact.types import Question, Questions
from didact.worlds._asking import questions_of
from didact.worlds._chance import uniform

_LETTERS = "abcdefghijklmnopqrst"
_LENGTH = 5
_DRAWN = 4000
_SHOWN, _SLIP = 0.2, 2 / 3


@functools.cache
def careless() -> Questions:
    """Sort five letters, one by one and then as a whole, from careless demonstrations.

    Real: nothing.

    Simulated: the letters, all different, drawn for each question; one question in five shows its answer. The
    demonstrations have mistakes: while more than one letter is left, they take the second instead of the first in two
    of three cases. If the answer is shown they have none, since explanations of a known answer have fewer mistakes.

    Known: every answer, and a way to it. The prompt is `hcbfa=`, and `hcbfa=abcfh:` where the answer is shown; a right
    completion has a line for each letter, `a`, `b`, `c`, `f` and `h`, and the line `abcfh`, which is the answer. Where
    the answer is not shown, one demonstration in 81 is right, and about as many completions of a model that is fitted
    to them: it has hardly any rewards.

    Returns:
        Nearly 4,000 questions; `data` tells whether the answer is `shown`. The verifier compares the last line.
    """
    chance = uniform(torch.arange(_DRAWN), len(_LETTERS) + 1 + _LENGTH, 0, "careless sorting")
    order, shown, slips = chance.split([len(_LETTERS), 1, _LENGTH], dim=1)
    drawn = zip(order.argsort(1)[:, :_LENGTH].tolist(), shown[:, 0].tolist(), slips.tolist(), strict=True)
    asked = {tuple(letters): _question(letters, told < _SHOWN, turns) for letters, told, turns in drawn}
    return questions_of(asked.values(), name="sorting:careless", verifier="exact:after:/\n/")


def _question(letters: Sequence[int], shown: bool, chances: Sequence[float]) -> Question:
    word = "".join(_LETTERS[i] for i in letters)
    answer = "".join(sorted(word))
    left, taken = list(answer), list[str]()
    for chance in chances:
        slip = chance < _SLIP and len(left) > 1 and not shown
        taken.append(left.pop(1 if slip else 0))
    prompt = f"{word}={answer}:" if shown else f"{word}="
    lines = [*taken, "".join(taken)]
    return Question(id=0, prompt=prompt, answer=answer, completion="\n".join(lines), data={"shown": shown})
