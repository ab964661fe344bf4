"""What the seeds of a claim decide, and on what no verdict may rest."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from didact.claiming import Claim
from didact.documents import Document
from didact.evaluation import Comparison, verdicts, wording
from didact.evaluation.verdicts import Effect, Verdict

_SAME = 0.8
"""The share of seeds with equal figures from which two arms are the same."""
_CORRELATED = 0.99

Teachers = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The method against one of the other arms."""

    role: str
    """The field of the claim that names that arm: `baseline`, `cheap`, `ablation` or `untaught`."""
    arm: str
    effect: Effect
    verdict: Verdict
    """`undecided` if there are marks, whatever the interval says."""
    marks: tuple[str, ...]
    """Why the arms cannot show anything, as sentences."""
    caveats: tuple[str, ...] = ()
    """Why a verdict that stands says little, as sentences."""

    @property
    def word(self) -> str:
        """The verdict, with an asterisk if there are caveats."""
        return f"{self.verdict}*" if self.caveats else self.verdict

    def as_dict(self) -> Document:
        """The outcome for JSON."""
        found = self.effect.estimate
        return {
            "arm": self.arm,
            "verdict": self.verdict,
            "effect": found.mean,
            "interval": [found.low, found.high],
            "p": self.effect.p,
            "robust": self.effect.robust,
            "collapsed": list(self.effect.collapsed),
            "marks": list(self.marks),
            "caveats": list(self.caveats),
        }


def outcomes(claim: Claim, comparison: Comparison, teachers: Teachers, floor: float = 0.0) -> tuple[Outcome, ...]:
    """The verdicts on a claim's method against the arms that it is compared with.

    Args:
        claim: the claim.
        comparison: the results of its arms, with the baseline as the reference.
        teachers: by teacher, its mean figures on the test examples.
        floor: how far a figure moves if one arm is run again, see `rerunning.floor`.

    Returns:
        One for each role that the claim names, the baseline first.
    """
    return tuple(_outcome(claim, role, arm, comparison, teachers, floor) for role, arm in claim.roles())


def works(found: Sequence[Outcome]) -> bool | None:
    """Whether a method is better than its baseline and its ablation; None if the claim names no ablation."""
    wanted = {one.role: one.verdict == "better" for one in found if one.role in ("baseline", "ablation")}
    return all(wanted.values()) if "ablation" in wanted else None


def _outcome(claim: Claim, role: str, arm: str, comparison: Comparison, teachers: Teachers, floor: float) -> Outcome:
    higher = comparison.higher_is_better
    mine, theirs = (values(comparison, one) for one in (claim.method, arm))
    found = verdicts.effect(mine, theirs, higher_is_better=higher, least=claim.smallest_effect or 0.0)
    verdict = verdicts.decide(found.estimate, smallest_effect=claim.smallest_effect, higher_is_better=higher)
    if verdict == "undecided":
        return Outcome(role, arm, found, verdict, ())
    caveats = ("*The effect is smaller than what a rerun changes.",) if abs(found.estimate.mean) < floor else ()
    if claim.smallest_effect is None:
        return Outcome(role, arm, found, verdict, (), caveats)
    marks = tuple(_marks(claim, role, arm, comparison, teachers, verdict, claim.smallest_effect))
    return Outcome(role, arm, found, "undecided", marks) if marks else Outcome(role, arm, found, verdict, (), caveats)


def values(comparison: Comparison, arm: str) -> list[float]:
    """An arm's compared metric, one value a seed."""
    return [result.metrics[comparison.metric] for result in comparison.results[arm]]


def _marks(
    claim: Claim,
    role: str,
    arm: str,
    comparison: Comparison,
    teachers: Teachers,
    verdict: Verdict,
    least: float,
) -> Iterator[str]:
    mine, theirs = values(comparison, claim.method), values(comparison, arm)
    yield from _identical(claim.method, mine, arm, theirs, least)
    means = [comparison.mean(one) for one in comparison.arms]
    if max(means) - min(means) < least:
        yield "No arm differs from any other by the smallest effect of interest."
    if role != "untaught":
        yield from _untrained(claim, arm, comparison, least)
        yield from _saturated(arm, comparison, least)
    if role == "baseline" and verdict == "equivalent":
        yield from _ignorant(claim, arm, comparison, teachers, least)


def _identical(method: str, mine: Sequence[float], arm: str, theirs: Sequence[float], least: float) -> Iterator[str]:
    same = sum(a == b for a, b in zip(mine, theirs, strict=True))
    if same >= _SAME * len(mine):
        yield f"{method} and {arm} have the same figures with {same} of {len(mine)} seeds."
        return
    alike = correlation(mine, theirs)
    if alike >= _CORRELATED and abs(fmean(mine) - fmean(theirs)) < least:
        yield f"{method} and {arm} are nearly the same runs: their figures correlate at {alike:.3f}."


def correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Pearson's correlation; 0 if one of them has no spread."""
    means = fmean(first), fmean(second)
    both = math.fsum((a - means[0]) * (b - means[1]) for a, b in zip(first, second, strict=True))
    spreads = [
        math.fsum((value - mean) ** 2 for value in one) for one, mean in zip((first, second), means, strict=True)
    ]
    return both / math.sqrt(spreads[0] * spreads[1]) if all(spreads) else 0.0


def _untrained(claim: Claim, arm: str, comparison: Comparison, least: float) -> Iterator[str]:
    if not claim.untaught or arm == claim.untaught:
        return
    sign = 1.0 if comparison.higher_is_better else -1.0
    if sign * (comparison.mean(arm) - comparison.mean(claim.untaught)) < least:
        yield f"{arm} is untrained: it is no better than {claim.untaught}."


def _saturated(arm: str, comparison: Comparison, least: float) -> Iterator[str]:
    best = 1.0 if wording.is_percent(comparison.metric) or comparison.metric == "r2" else None
    if not comparison.higher_is_better:
        best = 0.0
    if best is not None and abs(best - comparison.mean(arm)) < least:
        yield f"{arm} is saturated: there is no room for the smallest effect of interest above it."


def _ignorant(claim: Claim, arm: str, comparison: Comparison, teachers: Teachers, least: float) -> Iterator[str]:
    """The teacher of the claim knows no more than the baseline, from which nothing can be gained."""
    figures = teachers.get(str(claim.settings.get("teacher")), {})
    if comparison.metric not in figures:
        return
    sign = 1.0 if comparison.higher_is_better else -1.0
    if sign * (figures[comparison.metric] - comparison.mean(arm)) < least:
        yield f"The teacher is no better than {arm}, so that there is no room between them."
