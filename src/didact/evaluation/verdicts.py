"""Verdicts on effects, the number of seeds that they need, and what many of them together are worth.

An effect is a metric of one arm minus that of another, paired by seed. Where runs sometimes collapse, a mean and its t
interval say little; interquartile means, bootstrap intervals and the share of collapsed runs take their place (Agarwal,
Schwarzer, Castro, Courville & Bellemare 2021, and their package rliable).
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from didact.errors import DataError, MissingExtraError, check_range
from didact.evaluation.intervals import LEVEL, Estimate, estimate

if TYPE_CHECKING:
    import numpy as np

Verdict = Literal["better", "worse", "equivalent", "undecided"]
"""The verdict on an effect."""
POWER = 0.8
LEAST_SEEDS, MOST_SEEDS = 5, 40
_RESAMPLES = 10_000
_FENCE = 6.0
"""In distances from the median to the better octile: seven standard deviations of a normal distribution."""
_NORMAL = 0.01
"""The p-value of Shapiro and Wilk's test below which effects are not taken as normal."""


@dataclass(frozen=True, slots=True)
class Effect:
    """The effect of one arm against another over seeds, both of which are paired."""

    estimate: Estimate
    """Of the paired differences: their mean and t interval; or, if `robust`, the difference of the interquartile means
    and its bootstrap interval."""
    robust: bool
    """Whether the differences are not normal or some runs collapsed, so that interquartile means are compared."""
    collapsed: tuple[float, float]
    """The share of collapsed runs of the arm, and of the other one."""
    p: float | None
    """The two-sided p-value of no effect, of the paired t test or from the bootstrap; None with one seed."""


def decide(found: Estimate, *, smallest_effect: float | None, higher_is_better: bool) -> Verdict:
    """The verdict on an effect.

    Args:
        found: the effect with its 95% interval; an arm's metric minus that of another.
        smallest_effect: the smallest effect of interest, in the metric's unit; None if none was named beforehand.
        higher_is_better: whether more of the metric is better.

    Returns:
        `equivalent` if the whole interval lies within plus and minus `smallest_effect`, even if it excludes zero;
        `better` or `worse` if it excludes zero otherwise; else, and without an interval, `undecided`.
    """
    low, high = found.low, found.high
    if low is None or high is None:
        return "undecided"
    if smallest_effect is not None and -smallest_effect <= low <= high <= smallest_effect:
        return "equivalent"
    if low <= 0 <= high:
        return "undecided"
    return "better" if (low > 0) == higher_is_better else "worse"


def effect(mine: Sequence[float], theirs: Sequence[float], *, higher_is_better: bool, least: float = 0.0) -> Effect:
    """The effect of an arm against another.

    Args:
        mine: the arm's metric, one value a seed.
        theirs: the other arm's, for the same seeds.
        higher_is_better: whether more of the metric is better.
        least: the smallest effect of interest; a run behind its arm's median by less is not collapsed.
    """
    differences = [a - b for a, b in zip(mine, theirs, strict=True)]
    means = estimate(differences)
    shares = tuple(collapsed(values, higher_is_better=higher_is_better, least=least) for values in (mine, theirs))
    ends = (shares[0], shares[1])
    if len(differences) < LEAST_SEEDS or not (any(shares) or _is_odd(differences)):
        return Effect(means, False, ends, p_value(means))
    drawn = _resampled(mine, theirs)
    low, high = _quantiles(drawn)
    point = interquartile_mean(mine) - interquartile_mean(theirs)
    return Effect(Estimate(tuple(differences), point, means.sd, low, high), True, ends, _bootstrap_p(drawn))


def seeds_needed(sd: float, smallest_effect: float) -> int:
    """The number of seeds that a paired t test needs to find an effect, at the level of 5%, with 80% power.

    Args:
        sd: the standard deviation of the paired differences, for example on the tuning seeds; at least 0.
        smallest_effect: the smallest effect of interest, in the same unit; above 0.

    Returns:
        From 5 to 40; 40 where even more would be needed: `power` then says what they find.
    """
    check_range("sd", sd, at_least=0.0, below=math.inf)
    check_range("smallest_effect", smallest_effect, above=0.0, below=math.inf)
    enough = (n for n in range(LEAST_SEEDS, MOST_SEEDS) if power(n, sd, smallest_effect) >= POWER)
    return next(enough, MOST_SEEDS)


def power(n: int, sd: float, size: float) -> float:
    """The probability that the 95% t interval of n paired differences excludes zero.

    Args:
        n: the number of seeds, at least 2.
        sd: the standard deviation of the differences, at least 0.
        size: the true effect.
    """
    if sd == 0.0:
        return float(size != 0.0)
    special = _scipy("special")
    freedom, shift = n - 1, abs(size) / sd * math.sqrt(n)
    bound = float(special.stdtrit(freedom, (1 + LEVEL) / 2))
    found = 1.0 - special.nctdtr(freedom, shift, bound) + special.nctdtr(freedom, shift, -bound)
    # The noncentral distribution underflows far out, where the power is 1.
    return 1.0 if math.isnan(found) else float(found)


def interquartile_mean(values: Sequence[float]) -> float:
    """The mean of the middle half: as rliable's, a quarter of the values is cut off at each end, rounded down.

    Args:
        values: at least one.

    Raises:
        DataError: there is none.
    """
    if not values:
        raise DataError("There are no values, of which there is no interquartile mean; give at least one.")
    cut = len(values) // 4
    return statistics.fmean(sorted(values)[cut : len(values) - cut])


def collapsed(values: Sequence[float], *, higher_is_better: bool, least: float = 0.0) -> float:
    """The share of runs that collapsed: those far behind the others.

    A run is far behind if its distance to the median is more than six times that of the median to the better octile,
    and more than `least`. Up to half of the runs may collapse without hiding each other.
    """
    signed = sorted(value if higher_is_better else -value for value in values)
    middle, better = statistics.median(signed), signed[-1 - len(signed) // 8]
    fence = middle - max(_FENCE * (better - middle), least)
    return sum(value < fence for value in signed) / len(signed)


def _is_odd(differences: Sequence[float]) -> bool:
    """Whether differences are not normal, by the test of Shapiro and Wilk (1965)."""
    if max(differences) - min(differences) <= 1e-12 * max(map(abs, differences)):
        return False
    return float(_scipy("stats").shapiro(differences).pvalue) < _NORMAL


def p_value(found: Estimate) -> float | None:
    """The two-sided p-value of a mean of zero, of Student's t test; None with one value."""
    n = len(found.values)
    if found.sd is None:
        return None
    if found.sd == 0.0:
        return float(found.mean == 0.0)
    return float(2.0 * _scipy("special").stdtr(n - 1, -abs(found.mean) / found.sd * math.sqrt(n)))


def _resampled(mine: Sequence[float], theirs: Sequence[float]) -> "np.ndarray":
    """Differences of interquartile means over resampled seeds, the same ones for both arms."""
    import numpy as np

    n, both = len(mine), np.array([mine, theirs])
    drawn = np.random.default_rng(0).integers(0, n, (_RESAMPLES, n))
    middle = np.sort(both[:, drawn], axis=-1)[..., n // 4 : n - n // 4].mean(-1)
    return middle[0] - middle[1]


def _quantiles(drawn: "np.ndarray") -> tuple[float, float]:
    import numpy as np

    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _bootstrap_p(drawn: "np.ndarray") -> float:
    """Twice the smaller share of resampled effects on one side of zero; at least what so many samples can show."""
    below, above = float((drawn <= 0).mean()), float((drawn >= 0).mean())
    return min(1.0, max(2.0 * min(below, above), 2.0 / len(drawn)))


def _scipy(part: str) -> Any:
    from importlib import import_module

    try:
        return import_module(f"scipy.{part}")
    except ImportError:
        raise MissingExtraError("scipy", "data", "A verdict over seeds") from None
