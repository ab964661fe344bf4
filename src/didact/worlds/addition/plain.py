"""Addition, for small language models that learn from demonstrations and then from rewards."""

import dataclasses
import functools
from collections.abc import Callable

import torch

from didact import hashing
from didact.types import Question, Questions
from didact.worlds._asking import questions_of

_LOWEST, _NUMBERS = 10, 90
_PROBLEMS = 4000


@functools.cache
def addition() -> Questions:
    """Add two numbers of two digits, and write the sum from its last digit to its first.

    Real: arithmetic.

    Simulated: the 4,000 pairs of numbers from 10 to 99, drawn once without replacement, each in one of its two orders,
    so that no test question is a training question with its numbers swapped.

    Known: every answer. The prompt is `37+85=` and both the answer and the completion are `221`, the digits of 122
    reversed, since sums are easiest to write this way: each digit then depends on two digits and a carry alone. A
    decoder of 4 blocks of width 128, trained on 500 of them for 300 steps of 64, was right on 28% and 47% of others (on
    two seeds), and 50 steps later on 61% and 70%.

    Returns:
        4,000 questions; `data` has the numbers `a` and `b`, and `carries`, how often the sum carries (0 to 2). The
        verifier is `exact`.
    """
    return questions_of((_question(a, b, _turned) for a, b in _pairs()), name="addition", verifier="exact")


@functools.cache
def scratchpad() -> Questions:
    """Add two numbers of two digits, column by column on a scratchpad, and then write the sum.

    Real: arithmetic.

    Simulated: the pairs of numbers, which are those of `addition`.

    Known: every answer, and a way to it. The prompt is `37+85=` and the completion has the lines `7+5=12`, `3+8+1=12`
    and `122`: each column from the last to the first, with its carry, and then the sum, which is the answer.

    Returns:
        4,000 questions, with the `data` of `addition`. The verifier is `numeric`.
    """
    return questions_of((_question(a, b, _worked) for a, b in _pairs()), name="addition:scratchpad", verifier="numeric")


@functools.cache
def pairs() -> Questions:
    """Add two numbers of two digits; the rejected completion is the sum with a wrong first carry.

    Real: arithmetic, and a mistake that people who add by hand make.

    Simulated: the pairs of numbers, which are those of `addition`; and that the mistake is made each time.

    Known: every answer. The completion is that of `addition`, and `rejected` is the sum with the carry of the last
    digits forgotten where there is one, and with one too many where there is none: `211` for `37+85=`.

    Returns:
        4,000 questions, with the `data` of `addition`. The verifier is `exact`.
    """
    asked = (dataclasses.replace(_question(a, b, _turned), rejected=_miscarried(a, b)) for a, b in _pairs())
    return questions_of(asked, name="addition:pairs", verifier="exact")


def last_line(text: str, question: Question) -> float:
    """1 if the last line of a text is the answer of a question, else 0."""
    return float(text.rpartition("\n")[2] == question.answer)


def _miscarried(a: int, b: int) -> str:
    """The reversed sum, with the carry of its last digits inverted."""
    return str(a + b + (-10 if a % 10 + b % 10 > 9 else 10))[::-1]


def _pairs() -> list[tuple[int, int]]:
    """The pairs of numbers: of two that differ in their order alone, which have the same sum, there is one."""
    small, large = torch.triu_indices(_NUMBERS, _NUMBERS)
    numbers = torch.stack([small, large], 1) + _LOWEST
    numbers = numbers[hashing.keyed_hash(torch.arange(len(numbers)), 0, "addition").argsort()[:_PROBLEMS]]
    swapped = hashing.uniform(torch.arange(_PROBLEMS), 0, "addition/order") < 0.5
    return [(b, a) if swap else (a, b) for (a, b), swap in zip(numbers.tolist(), swapped.tolist(), strict=True)]


def _question(a: int, b: int, write: Callable[[int, int], tuple[str, str]]) -> Question:
    answer, completion = write(a, b)
    ones = a % 10 + b % 10 > 9
    data = {"a": a, "b": b, "carries": int(ones) + int(a // 10 + b // 10 + ones > 9)}
    return Question(id=0, prompt=f"{a}+{b}=", answer=answer, completion=completion, data=data)


def _turned(a: int, b: int) -> tuple[str, str]:
    turned = str(a + b)[::-1]
    return turned, turned


def _worked(a: int, b: int) -> tuple[str, str]:
    steps, carry = [], 0
    for tens in (1, 10):
        digits = [a // tens % 10, b // tens % 10] + [1] * carry
        steps.append(f"{'+'.join(map(str, digits))}={sum(digits)}")
        carry = sum(digits) // 10
    return str(a + b), "\n".join([*steps, str(a + b)])
