"""Comparisons in sentences and table cells."""

from typing import Protocol

from didact.evaluation import wording
from didact.evaluation.intervals import Estimate


class Arms(Protocol):
    """The part of a `Comparison` that sentences need."""

    @property
    def metric(self) -> str:
        """The compared metric."""
        ...

    @property
    def higher_is_better(self) -> bool:
        """Whether more of it is better."""
        ...

    @property
    def reference(self) -> str:
        """The arm that the others are compared with."""
        ...

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of every arm."""
        ...

    @property
    def arms(self) -> tuple[str, ...]:
        """Their names."""
        ...

    def mean(self, arm: str) -> float:
        """An arm's mean over the seeds."""
        ...

    def difference(self, arm: str) -> Estimate:
        """The difference of an arm to the reference."""
        ...

    def finding(self, arm: str) -> str:
        """The finding from that difference."""
        ...


def sentence(comparison: Arms) -> str:
    """The verdict in sentences: the best arm first, then each of the others, against the reference."""
    reference = comparison.reference
    others = [arm for arm in comparison.arms if arm != reference]
    others.sort(key=comparison.mean, reverse=comparison.higher_is_better)
    if not others:
        return f"{reference} reaches {_level(comparison, reference)}; nothing is beside it."
    if len(comparison.seeds) == 1:
        levels = wording.join_words([f"{arm} reaches {_level(comparison, arm)}" for arm in [*others, reference]])
        return f"With one seed there is no interval and no verdict: {levels}. Run 5 seeds or more to know."
    first = f"Over {len(comparison.seeds)} seeds, {_clause(comparison, others[0])}"
    levels = f"{_level(comparison, others[0])} against {_level(comparison, reference, named=False)}"
    return " ".join([f"{first}: {levels}.", *(f"{_clause(comparison, arm)}." for arm in others[1:])])


def _clause(comparison: Arms, arm: str) -> str:
    reference, finding = comparison.reference, comparison.finding(arm)
    difference = comparison.difference(arm)
    shown = f"(95% interval {interval_text(comparison.metric, difference)})"
    if finding == "equivalent":
        return f"{arm} is equivalent to {reference} {shown}"
    if finding == "undecided":
        return f"{arm} against {reference} is undecided {shown}"
    size, near, far = _magnitudes(comparison.metric, difference)
    verb = "beats" if finding == "better" else "does worse than"
    return f"{arm} {verb} {reference} by {size} (95% interval {near} to {far})"


def _magnitudes(metric: str, difference: Estimate) -> tuple[str, str, str]:
    """The absolute value of a difference in its unit, and the ends of its interval, without signs."""
    ends = sorted(abs(end) for end in (difference.low, difference.high) if end is not None)
    mean, near, far = (wording.figure(metric, v, like=difference.half) for v in (abs(difference.mean), *ends))
    unit = "points" if wording.is_percent(metric) else wording.unit_of(metric) or wording.name_of(metric)
    return f"{mean} {unit}", near, far


def _level(comparison: Arms, arm: str, *, named: bool = True) -> str:
    metric = comparison.metric
    unit = "%" if wording.is_percent(metric) else f" {wording.unit_of(metric)}".rstrip()
    shown = wording.figure(metric, comparison.mean(arm)) + unit
    return f"{shown} {wording.name_of(metric)}" if named else shown


def mean_text(metric: str, found: Estimate | None) -> str:
    """A mean with half of its interval: "91.3 ± 1.2"; a dash for None."""
    if found is None:
        return "\u2013"
    if found.half is None:
        return wording.figure(metric, found.mean)
    half = wording.figure(metric, found.half, like=found.half)
    return f"{wording.figure(metric, found.mean, like=found.half)} ± {half}"


def difference_text(metric: str, found: Estimate) -> str:
    """A difference with its interval: "+6.3 (+4.9 to +7.7)"."""
    mean = wording.figure(metric, found.mean, like=found.half, sign=True)
    return mean if found.low is None else f"{mean} ({interval_text(metric, found)})"


def interval_text(metric: str, found: Estimate) -> str:
    """The interval of a difference: "+4.9 to +7.7"; empty if there is none."""
    if found.low is None or found.high is None:
        return ""
    low, high = (wording.figure(metric, end, like=found.half, sign=True) for end in (found.low, found.high))
    return f"{low} to {high}"


def heading(metric: str) -> str:
    """A metric's name with its unit: "accuracy (%)"."""
    unit = wording.unit_of(metric)
    return wording.name_of(metric) + (f" ({unit})" if unit else "")
