"""Arms over seeds, their paired differences to a reference, and the verdict."""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from didact.documents import Document, Values, parse_json
from didact.errors import ConfigError, DataError, RunError, check_choice, check_range
from didact.evaluation import phrases, verdicts, wording
from didact.evaluation.intervals import Estimate, estimate
from didact.types import Cost

Finding = Literal["reference", "one seed"] | verdicts.Verdict


@dataclass(frozen=True, slots=True)
class ArmResult:
    """The result of one arm with one seed."""

    metrics: Mapping[str, float]
    """Metrics on the test examples by name, from `evaluation.metrics`."""
    cost: Cost
    diagnostics: Values = field(default_factory=dict)
    """Data for the report's charts, ready for JSON, from `evaluation.diagnostics`; may be empty."""
    failed: str = ""
    """Why the arm has no usable result, as a sentence; empty if it has one."""
    validation: Mapping[str, float] = field(default_factory=dict)
    """Metrics on the validation examples, on which settings may be chosen; empty if there are none."""

    def as_dict(self) -> Document:
        """The result for JSON, which has no NaN and no infinity: they become Python's strings."""
        found = {"metrics": _encoded(self.metrics), "cost": self.cost.as_dict(), "diagnostics": dict(self.diagnostics)}
        more = {"failed": self.failed, "validation": _encoded(self.validation)}
        return {**found, **{name: value for name, value in more.items() if value}}

    @classmethod
    def of(cls, found: Values) -> "ArmResult":
        """Rebuild a result from `as_dict`.

        Raises:
            ValueError: A figure is none.
        """
        metrics, validation = (_decoded(found.get(name, {})) for name in ("metrics", "validation"))
        failed = str(found.get("failed", ""))
        return cls(metrics, Cost.of(found["cost"]), found["diagnostics"], failed, validation)


def _encoded(metrics: Mapping[str, float]) -> Document:
    return {name: value if math.isfinite(value) else str(value) for name, value in metrics.items()}


def _decoded(metrics: Values) -> dict[str, float]:
    return {name: float(value) if isinstance(value, str) else value for name, value in metrics.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Several arms on the same seeds, compared with a reference by one metric."""

    metric: str
    higher_is_better: bool
    reference: str
    seeds: tuple[int, ...]
    results: Mapping[str, tuple[ArmResult, ...]]
    """The results by arm; one for each seed, in the order of `seeds`. An arm with a failed one is not compared."""
    smallest_effect: float | None = None
    """The smallest effect of interest, in the metric's unit; without one, no arm is `equivalent`."""

    def __post_init__(self) -> None:
        """Refuse results that cannot be compared.

        Raises:
            ConfigError: the reference is unknown or failed, there are no seeds, one is repeated, the metric is missing,
                or the smallest effect is not above zero.
            DataError: an arm lacks a finite value of the metric for a seed.
        """
        _check_seeds(self.seeds)
        check_smallest_effect(self.smallest_effect, self.metric)
        check_choice("reference", self.reference, self.arms)
        for arm, results in self.results.items():
            if len(results) != len(self.seeds):
                raise DataError(f"The arm {arm!r} has {len(results)} results for {len(self.seeds)} seeds.")
            for seed, result in zip(self.seeds, results, strict=True):
                if not result.failed and (broken := _broken(arm, result, self.metric)):
                    raise DataError(f"The arm {arm!r} with seed {seed} cannot be compared. {broken}")

    @property
    def arms(self) -> tuple[str, ...]:
        """The names of the arms that are compared, in the given order: those that did not fail."""
        return tuple(arm for arm, found in self.results.items() if not any(result.failed for result in found))

    @property
    def failures(self) -> dict[str, str]:
        """By arm that failed, the seeds and the reason of the first one, as a sentence."""
        return {arm: self._failure(arm) for arm in self.results if arm not in self.arms}

    def _failure(self, arm: str) -> str:
        found = {seed: one.failed for seed, one in zip(self.seeds, self.results[arm], strict=True) if one.failed}
        seeds = f"seed{'s' if len(found) > 1 else ''} {', '.join(map(str, found))}"
        return f"{arm} failed with {seeds}: {next(iter(found.values())).rstrip('.')}."

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric that some arm has, finite, for all seeds; the compared one first."""
        results = [result for arm in self.arms for result in self.results[arm]]
        names = dict.fromkeys([self.metric, *(name for result in results for name in result.metrics)])
        return tuple(name for name in names if any(self._has(arm, name) for arm in self.arms))

    def _has(self, arm: str, metric: str) -> bool:
        return all(math.isfinite(result.metrics.get(metric, math.nan)) for result in self.results[arm])

    def summary(self, arm: str, metric: str | None = None) -> Estimate | None:
        """An arm's mean of a metric (the compared one by default) and its 95% interval; None if it lacks values."""
        metric = metric or self.metric
        if not self._has(arm, metric):
            return None
        return estimate([result.metrics[metric] for result in self.results[arm]])

    def mean(self, arm: str) -> float:
        """An arm's mean of the compared metric."""
        return math.fsum(result.metrics[self.metric] for result in self.results[arm]) / len(self.seeds)

    def difference(self, arm: str) -> Estimate:
        """The difference of an arm to the reference, paired by seed: mean and paired t interval."""
        pairs = zip(self.results[arm], self.results[self.reference], strict=True)
        return estimate([mine.metrics[self.metric] - theirs.metrics[self.metric] for mine, theirs in pairs])

    def finding(self, arm: str) -> Finding:
        """The finding about an arm.

        Returns:
            `better`, `worse`, `equivalent` or `undecided` against the reference, see `verdicts.decide`; "one seed" if
            there is no interval; "reference" for the reference itself.
        """
        if arm == self.reference:
            return "reference"
        if len(self.seeds) == 1:
            return "one seed"
        return verdicts.decide(
            self.difference(arm), smallest_effect=self.smallest_effect, higher_is_better=self.higher_is_better
        )

    def cost(self, arm: str) -> dict[str, float]:
        """The cost of an arm, averaged over the seeds; peak memory is the largest."""
        costs = [result.cost.as_dict() for result in self.results[arm]]
        means = {axis: math.fsum(cost[axis] for cost in costs) / len(costs) for axis in costs[0]}
        return {**means, "peak_memory": max(cost["peak_memory"] for cost in costs)}

    def used_axes(self) -> list[str]:
        """The axes of cost on which some arm spent something."""
        costs = [self.cost(arm) for arm in self.arms]
        return [axis for axis in costs[0] if any(cost[axis] for cost in costs)]

    def table(self) -> list[dict[str, str]]:
        """The comparison as a table: one row per arm, with the headings as keys, in the same order in each row.

        The arms that failed come last, without figures.
        """
        axes = self.used_axes()
        rows = [
            {
                "arm": arm,
                phrases.heading(self.metric): phrases.mean_text(self.metric, self.summary(arm)),
                f"difference to {self.reference}": self._difference_text(arm),
                "verdict": self.finding(arm),
                **{wording.name_of(axis): wording.cost_figure(axis, self.cost(arm)[axis]) for axis in axes},
            }
            for arm in self.arms
        ]
        return [*rows, *({**dict.fromkeys(rows[0], ""), "arm": arm, "verdict": "failed"} for arm in self.failures)]

    def _difference_text(self, arm: str) -> str:
        return "" if arm == self.reference else phrases.difference_text(self.metric, self.difference(arm))

    def sentence(self) -> str:
        """The verdict in a sentence or two, and one for each arm that failed."""
        return " ".join([phrases.sentence(self), *self.failures.values()])

    def to_json(self) -> str:
        """Convert to JSON; `from_json` returns an equal comparison.

        `summary` has the means, intervals and findings, for other programs; they are derived, so that `from_json` does
        not read them.
        """
        results = {arm: [result.as_dict() for result in found] for arm, found in self.results.items()}
        document = {
            "format": "didact comparison 1",
            "metric": self.metric,
            "higher_is_better": self.higher_is_better,
            "reference": self.reference,
            "smallest_effect": self.smallest_effect,
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
        """Rebuild a comparison from the result of `to_json`.

        Raises:
            DataError: the text is not such JSON.
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
                results={arm: tuple(map(ArmResult.of, found)) for arm, found in document["results"].items()},
                smallest_effect=document.get("smallest_effect"),
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
    smallest_effect: float | None = None,
    on_result: Callable[[str, int, ArmResult], None] | None = None,
) -> Comparison:
    """Run every arm with every seed, and compare them by paired differences.

    Seeds are the outer loop, so that results before an interruption are paired. Each comparison with the reference has
    its own 95% interval; there is no correction for multiple comparisons. An arm that fails with a seed, or whose
    metric is not finite, is a row without figures, and the others go on; if that is the reference, the first arm that
    did not fail takes its place.

    Args:
        arms: by name, functions that run an arm with a seed; each arm has its own budget.
        seeds: distinct; with the same seed the arms should see the same split, labels and initial weights.
        reference: the arm that the others are compared with.
        metric: the metric of the comparison; every arm must report it.
        higher_is_better: whether more of it is better; by default that of `metrics`, and true for any other.
        smallest_effect: the smallest effect of interest, in the metric's unit, named before anything is seen.
        on_result: called with each result: arm, seed, result.

    Raises:
        ConfigError: the reference is unknown, there are no seeds, one is repeated, an arm lacks the metric, or the
            smallest effect is not above zero.
        RunError: every arm failed.
    """
    _check_seeds(seeds)
    check_smallest_effect(smallest_effect, metric)
    check_choice("reference", reference, arms)
    results: dict[str, list[ArmResult]] = {arm: [] for arm in arms}
    for seed in seeds:
        for arm, run in arms.items():
            result = run(seed)
            if not result.failed and (broken := _broken(arm, result, metric)):
                result = dataclasses.replace(result, failed=broken)
            results[arm].append(result)
            if on_result is not None:
                on_result(arm, seed, result)
    finished = [arm for arm, found in results.items() if not any(result.failed for result in found)]
    if not finished:
        reasons = [f"{arm}: {next(one.failed for one in found if one.failed)}" for arm, found in results.items()]
        raise RunError(f"Every arm failed, so that there is nothing to compare. {' '.join(reasons)}")
    return Comparison(
        metric=metric,
        higher_is_better=wording.higher_is_better(metric) if higher_is_better is None else higher_is_better,
        reference=reference if reference in finished else finished[0],
        seeds=tuple(seeds),
        results={arm: tuple(found) for arm, found in results.items()},
        smallest_effect=smallest_effect,
    )


def check_smallest_effect(value: float | None, metric: str) -> None:
    """Refuse a smallest effect of interest that cannot be meant.

    Args:
        value: in the metric's unit, or None.
        metric: the metric's name.

    Raises:
        ConfigError: it is not above 0; or at least 1 for a metric that goes from 0 to 1.
    """
    if value is None:
        return
    check_range("smallest_effect", value, above=0.0, below=math.inf)
    if wording.is_percent(metric) and value >= 1.0:
        raise ConfigError(f"smallest_effect is {value:g}, but {metric} goes from 0 to 1; for one point, give 0.01.")


def _check_seeds(seeds: Sequence[int]) -> None:
    if not seeds:
        raise ConfigError("seeds is empty; give at least one, and 5 or more for an interval worth reading.")
    if len(set(seeds)) != len(seeds):
        raise ConfigError(f"seeds is {list(seeds)}, with one of them twice; the same run twice is no evidence.")


def _broken(arm: str, result: ArmResult, metric: str) -> str:
    """Why a result cannot be averaged; empty if it can.

    Raises:
        ConfigError: It lacks the metric.
    """
    if metric not in result.metrics:
        known = ", ".join(sorted(result.metrics)) or "nothing"
        raise ConfigError(f"metric is {metric!r}, but the arm {arm!r} reports {known}; choose one that every arm has.")
    if math.isfinite(result.metrics[metric]):
        return ""
    return f"Its {metric} is {result.metrics[metric]}, which can't be averaged."
