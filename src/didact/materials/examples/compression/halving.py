"""Successive halving: many students are taught a little, and fewer of them more (Jamieson & Talwalkar, AISTATS 2016).

Here a third goes on each time, and what is sought is no best metric but the cheapest student within a bound. The order
is therefore: those within the bound, the cheapest first; then the others, the nearest to the bound first. A student
that has been taught a ninth of what it will be may get within the bound later; so the places of a round are given in
turn by that order, and by the same order with the bound lowered by the distance that may still be made up.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ETA = 3
"""Of so many students one goes on, to be taught so many times as much."""
FEWEST = 2
"""Students of the last round, if there are so many."""


@dataclass(frozen=True, slots=True)
class Score:
    """What a student has shown so far."""

    metric: float
    """On validation rows, more is better; NaN for one that failed."""
    cost: float
    """Its size or latency."""


def shares(count: int) -> list[float]:
    """The share of the full budget in each round of a search over so many students, the last of which is 1."""
    rounds = 1 + (count > FEWEST) + (count > FEWEST * ETA)
    return [float(ETA) ** -left for left in reversed(range(rounds))]


def keep(count: int, number: int) -> int:
    """How many of `count` students are in the round of a number, from 0."""
    return max(min(FEWEST, count), math.ceil(count / ETA**number))


def ranked(scores: Mapping[str, Score], bound: float) -> list[str]:
    """The students in order: within the bound by cost, then by their distance from it; failed ones are left out."""

    def place(name: str) -> tuple[bool, float, float, str]:
        score = scores[name]
        short = max(0.0, bound - score.metric)
        first, second = (short, score.cost) if short else (score.cost, -score.metric)
        return short > 0, first, second, name

    return sorted((name for name, score in scores.items() if math.isfinite(score.metric)), key=place)


def survivors(scores: Mapping[str, Score], bound: float, slack: float, places: int) -> list[str]:
    """The students that go on.

    Args:
        scores: by name.
        bound: the least metric that is asked for.
        slack: how much they may still gain.
        places: how many go on.

    Returns:
        Their names, at most `places`.
    """
    orders: Sequence[list[str]] = (ranked(scores, bound), ranked(scores, bound - slack))
    turns = itertools.chain.from_iterable(zip(*orders, strict=True))
    return list(dict.fromkeys(turns))[:places]
