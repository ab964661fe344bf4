"""Arms over seeds, their paired differences to a reference, and the verdict."""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from didact.documents import Document, Values, parse_json
from didact.errors import ConfigError, DataError, check_choice
from didact.evaluation import phrases, wording
from didact.evaluation.intervals import Estimate, estimate
from didact.types import Cost

Finding = Literal["reference", "better", "worse", "no difference shown", "one seed"]


@dataclass(frozen=True, slots=True)
class ArmResult:
    """What one arm achieved with one seed."""

    metrics: Mapping[str, float]
    """By name, as `evaluation.metrics` gives them, on the test examples."""
    cost: Cost
    diagnostics: Values = field(default_factory=dict)
    """What the report draws, ready for JSON, as `evaluation.diagnostics` gives it; may be empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Several arms on the same seeds, judged by one metric against a reference."""

    metric: str
    higher_is_better: bool
    reference: str
    seeds: tuple[int, ...]
    results: Mapping[str, tuple[ArmResult, ...]]
    """By arm; one for each seed, in the order of `seeds`."""

    def __post_init__(self) -> None:
        """Refuse what cannot be compared.

        Raises:
            ConfigError: no such reference, no seeds, a seed twice, or the metric missing.
            DataError: an arm without a finite value of the metric for each seed.
        """
        _check_seeds(self.seeds)
        check_choice("reference", self.reference, self.results)
        for arm, results in self.results.items():
            if len(results) != len(self.seeds):
                raise DataError(f"The arm {arm!r} has {len(results)} results for {len(self.seeds)} seeds.")
            for seed, result in zip(self.seeds, results, strict=True):
                _check_metric(arm, seed, result, self.metric)

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms' names, in the order given."""
        return tuple(self.results)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric that some arm has finite for all seeds; the one that is judged comes first."""
        names = dict.fromkeys([self.metric, *(name for rs in self.results.values() for r in rs for name in r.metrics)])
        return tuple(name for name in names if any(self._has(arm, name) for arm in self.arms))

    def _has(self, arm: str, metric: str) -> bool:
        return all(math.isfinite(result.metrics.get(metric, math.nan)) for result in self.results[arm])

    def summary(self, arm: str, metric: str | None = None) -> Estimate | None:
        """An arm's mean of a metric (the judged one by default) and its 95% interval; None where it lacks some."""
        metric = metric or self.metric
        if not self._has(arm, metric):
            return None
        return estimate([result.metrics[metric] for result in self.results[arm]])

    def mean(self, arm: str) -> float:
        """An arm's mean of the judged metric."""
        return math.fsum(result.metrics[self.metric] for result in self.results[arm]) / len(self.seeds)

    def difference(self, arm: str) -> Estimate:
        """The judged metric of an arm less that of the reference with the same seed: mean and paired t interval."""
        pairs = zip(self.results[arm], self.results[self.reference], strict=True)
        return estimate([mine.metrics[self.metric] - theirs.metrics[self.metric] for mine, theirs in pairs])

    def finding(self, arm: str) -> Finding:
        """What the comparison shows of an arm.

        Returns:
            "better" or "worse" than the reference where the 95% interval of the paired difference excludes zero, else
            "no difference shown"; "one seed" where there can be no interval; "reference" for the reference itself.
        """
        if arm == self.reference:
            return "reference"
        difference = self.difference(arm)
        if difference.low is None or difference.high is None:
            return "one seed"
        if difference.low <= 0 <= difference.high:
            return "no difference shown"
        return "better" if (difference.low > 0) == self.higher_is_better else "worse"

    def cost(self, arm: str) -> dict[str, float]:
        """What an arm cost, averaged over the seeds; peak memory is the largest."""
        costs = [result.cost.as_dict() for result in self.results[arm]]
        means = {axis: math.fsum(cost[axis] for cost in costs) / len(costs) for axis in costs[0]}
        return {**means, "peak_memory": max(cost["peak_memory"] for cost in costs)}

    def used_axes(self) -> list[str]:
        """The axes of cost on which some arm spent something."""
        costs = [self.cost(arm) for arm in self.arms]
        return [axis for axis in costs[0] if any(cost[axis] for cost in costs)]

    def table(self) -> list[dict[str, str]]:
        """The comparison for people: one row an arm, the columns' headings as keys, in the same order in each row."""
        axes = self.used_axes()
        return [
            {
                "arm": arm,
                phrases.heading(self.metric): phrases.mean_text(self.metric, self.summary(arm)),
                f"difference to {self.reference}": self._difference_text(arm),
                "verdict": self.finding(arm),
                **{wording.name_of(axis): wording.cost_figure(axis, self.cost(arm)[axis]) for axis in axes},
            }
            for arm in self.arms
        ]

    def _difference_text(self, arm: str) -> str:
        return "" if arm == self.reference else phrases.difference_text(self.metric, self.difference(arm))

    def sentence(self) -> str:
        """The verdict in a sentence or two, as a person would say it."""
        return phrases.sentence(self)

    def to_json(self) -> str:
        """Everything, as a JSON text; `from_json` gives back an equal comparison.

        Under `summary` stand the means, intervals and findings, for other programs; they are computed, so that
        `from_json` does not read them.
        """
        results = {arm: [_encode(result) for result in found] for arm, found in self.results.items()}
        document = {
            "format": "didact comparison 1",
            "metric": self.metric,
            "higher_is_better": self.higher_is_better,
            "reference": self.reference,
            "seeds": list(self.seeds),
            "sentence": self.sentence(),
            "summary": {arm: self._summary_json(arm) for arm in self.arms},
            "results": results,
        }
        return json.dumps(document, indent=1, allow_nan=False)

    def _summary_json(self, arm: str) -> Document:
        means = {name: found for name in self.metrics if (found := self.summary(arm, name))}
        return {
            "metrics": {name: dataclasses.asdict(found) for name, found in means.items()},
            "difference": None if arm == self.reference else dataclasses.asdict(self.difference(arm)),
            "finding": self.finding(arm),
            "cost": self.cost(arm),
        }

    @classmethod
    def from_json(cls, text: str) -> "Comparison":
        """Take back what `to_json` gave.

        Raises:
            DataError: the text is no such JSON.
        """
        try:
            document = parse_json(text)
            if document["format"] != "didact comparison 1":
                raise DataError(f"The comparison's format is {document['format']!r}, not 'didact comparison 1'.")
            return cls(
                metric=document["metric"],
                higher_is_better=document["higher_is_better"],
                reference=document["reference"],
                seeds=tuple(document["seeds"]),
                results={arm: tuple(_decode(result) for result in found) for arm, found in document["results"].items()},
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"The text is not a comparison as `to_json` writes it: {error!r}.") from None


def compare(
    arms: Mapping[str, Callable[[int], ArmResult]],
    seeds: Sequence[int],
    *,
    reference: str,
    metric: str,
    higher_is_better: bool | None = None,
    on_result: Callable[[str, int, ArmResult], None] | None = None,
) -> Comparison:
    """Run every arm with every seed, and judge them by paired differences.

    The seeds' order is the outer one, so that what is there after an interruption is paired. Each comparison to the
    reference has its own 95% interval; they are not widened for their number.

    Args:
        arms: by name, what runs an arm with a seed; the budget is the arms' own business.
        seeds: distinct; with the same seed the arms should see the same split, labels and initial weights.
        reference: the arm that the others are compared with.
        metric: the one that is judged; every arm must report it.
        higher_is_better: whether more of it is good; by default as is known of `metrics`, true of any other.
        on_result: told of each result as it comes: arm, seed, result.

    Raises:
        ConfigError: no such reference, no seeds, a seed twice, or an arm that doesn't report the metric.
        DataError: the metric of an arm is not finite.
    """
    _check_seeds(seeds)
    check_choice("reference", reference, arms)
    results: dict[str, list[ArmResult]] = {arm: [] for arm in arms}
    for seed in seeds:
        for arm, run in arms.items():
            result = run(seed)
            _check_metric(arm, seed, result, metric)
            results[arm].append(result)
            if on_result is not None:
                on_result(arm, seed, result)
    return Comparison(
        metric=metric,
        higher_is_better=wording.higher_is_better(metric) if higher_is_better is None else higher_is_better,
        reference=reference,
        seeds=tuple(seeds),
        results={arm: tuple(found) for arm, found in results.items()},
    )


def _check_seeds(seeds: Sequence[int]) -> None:
    if not seeds:
        raise ConfigError("seeds is empty; give at least one, and 5 or more for an interval worth reading.")
    if len(set(seeds)) != len(seeds):
        raise ConfigError(f"seeds is {list(seeds)}, with one of them twice; the same run twice is no evidence.")


def _check_metric(arm: str, seed: int, result: ArmResult, metric: str) -> None:
    if metric not in result.metrics:
        known = ", ".join(sorted(result.metrics)) or "nothing"
        raise ConfigError(f"metric is {metric!r}, but the arm {arm!r} reports {known}; choose one that every arm has.")
    if not math.isfinite(result.metrics[metric]):
        raise DataError(
            f"The {metric} of the arm {arm!r} with seed {seed} is {result.metrics[metric]}; an arm that breaks down "
            "can't be averaged: mend it or leave it out."
        )


def _encode(result: ArmResult) -> Document:
    """JSON has no NaN and no infinity: they become the strings that Python writes."""
    metrics = {name: value if math.isfinite(value) else str(value) for name, value in result.metrics.items()}
    return {"metrics": metrics, "cost": result.cost.as_dict(), "diagnostics": dict(result.diagnostics)}


def _decode(result: Values) -> ArmResult:
    metrics = {name: float(value) if isinstance(value, str) else value for name, value in result["metrics"].items()}
    return ArmResult(metrics, Cost.of(result["cost"]), result["diagnostics"])
