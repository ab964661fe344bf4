"""How far two people who labelled the same rows agree."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple


class Agreement(NamedTuple):
    """How far two people agree on the rows that both labelled."""

    rows: int
    raw: float | None
    """The share of rows with the same label, in [0, 1]; None without rows."""
    kappa: float | None
    """Cohen's kappa, at most 1; None without rows, or where both gave one and the same label throughout."""


def agreement_of(first: Sequence[str], second: Sequence[str]) -> Agreement:
    """Raw agreement and Cohen's kappa (Cohen 1960), (raw - chance) / (1 - chance).

    Chance is the agreement of two who draw labels at random, each as often as they gave them.

    Args:
        first: the labels of one person, N.
        second: those of the other, in the same order, N.
    """
    rows = len(first)
    if not rows:
        return Agreement(0, None, None)
    same = sum(one == other for one, other in zip(first, second, strict=True))
    counts, others = Counter(first), Counter(second)
    by_chance = sum(count * others[label] for label, count in counts.items())
    if by_chance == rows**2:
        return Agreement(rows, same / rows, None)
    return Agreement(rows, same / rows, (rows * same - by_chance) / (rows**2 - by_chance))
