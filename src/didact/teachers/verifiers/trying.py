"""Checks of a verifier before it is trusted, on known good and bad completions."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from didact.teachers.verifiers.base import Verifier
from didact.types import Question

NONSENSE = "qwzx vlorp kkfh"
"""A completion that is wrong for every question: without a digit, which may be right by chance."""
OFTEN = 0.5
"""The largest share of questions on which a constant completion may be rewarded: some data have few answers."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """A fault of a verifier."""

    words: str
    """The fault, as a sentence."""
    grave: bool = False
    """Whether the verifier rewards an empty completion, a constant one, or any."""

    def __str__(self) -> str:
        """The sentence."""
        return self.words


def try_verifier(verifier: Verifier, questions: Sequence[Question], *, most: int = 32) -> list[Complaint]:
    """Find faults of a verifier from its rewards of known completions.

    The good completions are the questions' own, or else their answers; the bad ones are empty, nonsense, the good ones
    of other questions, and constant ones, such as a function that always returns the same value.

    Args:
        verifier: the verifier to check.
        questions: some of those that it will be used on.
        most: the largest number of them to use, from the first on.

    Returns:
        Complaints; empty if it tells good completions from bad ones.

    Raises:
        DataError: a question lacks what the verifier needs.
    """
    tried = list(questions[:most])
    verifier.check(tried)
    known = [q for q in tried if _good(q) is not None]
    told = [question for question in tried if _good(question) is None or (_good(question) or "").strip()]
    groups = {
        "empty": ([""] * len(told), told),
        "nonsense": ([NONSENSE] * len(tried), tried),
        "other": _exchanged(known),
    }
    good = _scores(verifier, [_good(q) or "" for q in known], known)
    bad = {name: _scores(verifier, texts, asked) for name, (texts, asked) in groups.items()}
    return _complaints(verifier, good, bad) + _guessed(verifier, tried, good)


def _guessed(verifier: Verifier, tried: list[Question], good: list[float | None]) -> list[Complaint]:
    """Complaints about constant completions, on the questions that they are no known answer of."""
    right = sorted(value for value in good if value is not None and value > 0)
    worth = right[len(right) // 2] if right else 1.0
    columns = list(itertools.zip_longest(*(verifier.guesses(question) for question in tried)))
    for column in columns if len(tried) > 1 else ():
        asked = zip(column, tried, strict=True)
        pairs = [(guess, q) for guess, q in asked if guess is not None and guess not in (q.answer, q.completion)]
        values = _scores(verifier, [guess for guess, _ in pairs], [question for _, question in pairs])
        paid = sum(value is not None and value >= worth for value in values)
        if paid > OFTEN * len(tried):
            words = f"finds {paid} of {len(values)} constant completions as good as good ones"
            return [Complaint(f"The verifier {verifier} {words}, such as {pairs[0][0]!r:.80}.", grave=True)]
    return []


def _good(question: Question) -> str | None:
    return question.completion if question.completion is not None else question.answer


def _exchanged(known: list[Question]) -> tuple[list[str], list[Question]]:
    """Each question with the next known completion that differs from its own."""
    texts, asked = [], []
    for place, question in enumerate(known):
        others = (other for other in known[place + 1 :] + known[:place] if _good(other) != _good(question))
        if (other := next(others, None)) is not None:
            texts.append(_good(other) or "")
            asked.append(question)
    return texts, asked


def _scores(verifier: Verifier, texts: list[str], questions: list[Question]) -> list[float | None]:
    """Values, None where it abstained. Lengths in tokens are approximated by words."""
    if not texts:
        return []
    reward = verifier.verify(texts, questions, [len(text.split()) for text in texts])
    trust = reward.value if reward.trust is None else reward.trust
    pairs = zip(reward.value.tolist(), trust.tolist(), strict=True)
    return [value if trusted > 0 else None for value, trusted in pairs]


def _complaints(verifier: Verifier, good: list[float | None], bad: dict[str, list[float | None]]) -> list[Complaint]:
    found = []
    everything = [*good, *(value for values in bad.values() for value in values)]
    silent = everything.count(None)
    if silent:
        reasons = ", ".join(f"{reason} ({count})" for reason, count in verifier.abstentions.most_common(3))
        words = f"could not score {silent} of {len(everything)} known completions: {reasons}"
        found.append(Complaint(f"The verifier {verifier} {words}."))
    right = [value for value in good if value is not None]
    wrong = [value for values in bad.values() for value in values if value is not None]
    if not good:
        words = f"The verifier {verifier} could be tried on bad completions alone: no question has an answer or a "
        found.append(Complaint(f"{words}completion that is known to be good."))
    if right and wrong and max(right) <= min(wrong):
        what = "everything" if max(right) > 0 else "nothing"
        words = f"The verifier {verifier} accepts {what}: good completions are worth at most {max(right):g}, and empty "
        words += f"ones, nonsense and other questions' completions at least {min(wrong):g}."
        found.append(Complaint(words, grave=max(right) > 0))
    elif right:
        found += _single(verifier, right, bad)
    elif wrong and not good and min(wrong) > 0:
        words = f"The verifier {verifier} accepts everything: its least for a bad completion is {min(wrong):g}."
        found.append(Complaint(words, grave=True))
    return found


def _single(verifier: Verifier, right: list[float], bad: dict[str, list[float | None]]) -> list[Complaint]:
    """Complaints about one kind of completion, if the verifier tells some good ones from some bad ones."""
    worth = sorted(right)[len(right) // 2]
    missed = sum(value <= 0 for value in right)
    found = []
    if missed:
        words = f"refuses {missed} of {len(right)} completions that are known to be good"
        found.append(Complaint(f"The verifier {verifier} {words}."))
    names = {"empty": "empty completions", "nonsense": "nonsense completions", "other": "other questions' completions"}
    for name, values in bad.items():
        fooled = sum(value is not None and value >= worth for value in values)
        if fooled:
            words = f"finds {fooled} of {len(values)} {names[name]} as good as good ones"
            found.append(Complaint(f"The verifier {verifier} {words}.", grave=name == "empty"))
    return found
