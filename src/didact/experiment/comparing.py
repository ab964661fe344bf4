"""Several arms on the same data, seeds and budget, beside the cheap alternatives."""

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from didact import catalogue, evaluation
from didact.documents import Document, read_object
from didact.errors import ConfigError, DataError, RunError, check_choice, nearest
from didact.evaluation import ArmResult, Comparison, report
from didact.experiment import finding, records, running
from didact.experiment.arms import Arm, Plan
from didact.experiment.config import RunConfig
from didact.experiment.keeping import Keeper
from didact.experiment.material import Data, Material, Objects
from didact.experiment.preparing import prepare
from didact.types import Cost, Verdict


@dataclass
class ComparisonRun:
    """A comparison with what it was made of."""

    comparison: Comparison
    arms: dict[str, RunConfig | str]
    """By name, the configuration of each arm, or the name of a baseline."""
    description: Document
    """Versions, commit, data and configuration, as `config.json` holds them."""
    curves: dict[str, list[list[Document]]] = field(default_factory=dict)
    verdicts: dict[str, list[tuple[int, Verdict]]] = field(default_factory=dict)
    teachers: dict[str, dict[str, float]] = field(default_factory=dict)
    """By teacher, its mean figures on the test examples, and the mean cost of training it here."""
    interrupted: bool = False
    """Whether it ended early; it then holds the seeds that every arm has finished."""

    def write(self, directory: Path, report_path: Path | None = None) -> Path:
        """Write `config.json`, `result.json` and the report; the report's path."""
        directory.mkdir(parents=True, exist_ok=True)
        records.write_json(directory / "config.json", self.description)
        (directory / "result.json").write_text(self.comparison.to_json() + "\n", encoding="utf-8")
        return self.write_report(report_path or directory / "report.html")

    def write_report(self, path: Path) -> Path:
        """Write the report alone; its path."""
        return report.write_comparison_report(
            path, self.comparison, config=self.description, curves=self.curves, verdicts=self.verdicts
        )


def compare(
    arms: Sequence[Arm] | Mapping[str, Arm],
    *,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    reference: str | None = None,
    metric: str | None = None,
    baselines: str | Sequence[str] = "auto",
    on_result: Callable[[str, int, ArmResult], None] | None = None,
    **settings: object,
) -> ComparisonRun:
    """Teach by several methods at equal budget over several seeds, and compare them by paired differences.

    With the same seed all arms see the same split, the same labels, a student with the same first weights, and the same
    teacher. Everything is checked for every arm before the first one is taught.

    Args:
        arms: methods; `"distill,temperature=2,teacher=random"` has settings of its own. By name where it is a mapping.
        seeds: distinct.
        reference: the arm that the others are compared with; by default `supervised` where it is there, else the first.
        metric: what is compared; by default accuracy, or R2 for a regression.
        baselines: names of cheap alternatives, `auto` for those that fit the data, `none`.
        on_result: told of each result as it comes: arm, seed, result.
        settings: what all arms share: fields of `RunConfig` such as `labels=100, steps=500`; and `data`, `student` (a
            module is copied for each run), `verifier`, and for the arms that take one `teacher`, which may be objects
            as in `run`.

    Returns:
        The comparison and what it was made of.

    Raises:
        DidactError: Something does not fit; the message names the field, the value and what would work.
    """
    plan = Plan(arms, settings)
    bench = _Bench(plan)
    names = _baselines(baselines, bench, seeds)
    known = check_all(plan, bench, seeds)
    runs = {name: _runner(bench, name) for name in plan.configs}
    runs |= {name: _baseline_runner(bench, name) for name in names}
    reference = reference or ("supervised" if "supervised" in runs else next(iter(runs)))
    comparison, interrupted = _evaluate(runs, seeds, reference, _metric(metric, known), on_result)
    return ComparisonRun(
        comparison,
        {**plan.configs, **{name: name for name in names}},
        bench.description(comparison.seeds),
        curves=bench.curves,
        verdicts=bench.verdicts,
        teachers=bench.teacher_figures(),
        interrupted=interrupted,
    )


def _metric(name: str | None, known: Sequence[str]) -> str:
    """The metric that is compared; refused here, before anything is computed, where not every arm reports it."""
    if name is not None:
        check_choice("metric", name, known)
        return name
    if known[0] == "length":
        raise ConfigError(
            "metric is not given, and the arms report nothing by which answers are better or worse; give a verifier, a "
            f"completion for each question, or one of {', '.join(known)} as the metric."
        )
    return known[0]


def _evaluate(
    runs: Mapping[str, Callable[[int], ArmResult]],
    seeds: Sequence[int],
    reference: str,
    metric: str,
    on_result: Callable[[str, int, ArmResult], None] | None,
) -> tuple[Comparison, bool]:
    """The comparison, and whether it was interrupted and so holds the finished seeds alone."""
    results: dict[str, list[ArmResult]] = {name: [] for name in runs}

    def keep(arm: str, seed: int, result: ArmResult) -> None:
        results[arm].append(result)
        if on_result is not None:
            on_result(arm, seed, result)

    try:
        return evaluation.compare(runs, seeds, reference=reference, metric=metric, on_result=keep), False
    except KeyboardInterrupt:
        return _so_far(results, seeds, reference, metric), True


def _so_far(results: Mapping[str, list[ArmResult]], seeds: Sequence[int], reference: str, metric: str) -> Comparison:
    """The comparison over the seeds that every arm has finished, after an interruption."""
    complete = min(len(found) for found in results.values())
    if not complete:
        raise KeyboardInterrupt
    kept = {arm: iter(found[:complete]) for arm, found in results.items()}
    again = {arm: lambda _seed, found=found: next(found) for arm, found in kept.items()}
    return evaluation.compare(again, list(seeds)[:complete], reference=reference, metric=metric)


class _Bench:
    """Runs arms, and keeps what they can share: data by seed, and what was trained first."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.opened: dict[tuple[int, str, str], Data] = {}
        self.trained: dict[tuple[int, int, str], tuple[Document, Cost]] = {}
        self.curves: dict[str, list[list[Document]]] = {name: [] for name in plan.configs}
        self.verdicts: dict[str, list[tuple[int, Verdict]]] = {name: [] for name in plan.configs}
        self.teachers: dict[str, list[dict[str, float]]] = {}
        self.first = next(iter(plan.configs))

    def config(self, name: str, seed: int) -> RunConfig:
        """An arm's configuration for a seed."""
        return self.plan.configs[name].replace(seed=seed)

    def material(self, name: str) -> Material[Data]:
        """An arm's material."""
        return finding.find(catalogue.find(self.plan.configs[name].method))

    def data(self, seed: int, name: str | None = None) -> Data:
        """The data as they are split for a seed, as an arm's student reads them."""
        name = name or self.first
        config, material = self.config(name, seed), self.material(name)
        key = (seed, material.name, material.reads(config))
        if key not in self.opened:
            # Seeds come one after the other, so that only the present one's splits are kept.
            self.opened = {kept: data for kept, data in self.opened.items() if kept[0] == seed}
            self.opened[key] = material.open(config, self.plan.objects[name].data)
        return self.opened[key]

    def objects(self, name: str) -> Objects:
        """An arm's objects, with a copy of a module that is to be taught."""
        given = self.plan.objects[name]
        student = copy.deepcopy(given.student) if isinstance(given.student, nn.Module) else given.student
        return dataclasses.replace(given, student=student)

    def keeper(self, config: RunConfig) -> Keeper:
        """Where what an arm trains first is kept for the other arms with the same seed."""

        def keep(name: str, model: nn.Module, cost: Cost | None = None) -> Cost | None:
            key = (config.seed, config.teacher_epochs, name)
            if cost is not None:
                self.trained[key] = (copy.deepcopy(model.state_dict()), cost)
            if key not in self.trained:
                return None
            state, spent = self.trained[key]
            model.load_state_dict(state)
            return copy.copy(spent)

        return keep

    def teach(self, name: str, seed: int) -> running.RunResult:
        """One arm with one seed."""
        config = self.config(name, seed)
        result = running.execute(
            config,
            self.objects(name),
            data=self.data(seed, name),
            keeper=self.keeper(config),
        )
        if result.status == "interrupted":
            raise KeyboardInterrupt
        if result.status != "done":
            raise RunError(f"The arm {name!r} with seed {seed} was {result.status}: {result.reason}")
        self.curves[name].append(result.history)
        self.verdicts[name].extend(result.verdicts)
        if result.teacher and result.config.teacher is not None:
            cost = {"cost/labels": float(result.teacher_cost.labels), "cost/seconds": result.teacher_cost.seconds}
            self.teachers.setdefault(result.config.teacher, []).append({**result.teacher, **cost})
        return result

    def description(self, seeds: Sequence[int]) -> Document:
        """What `config.json` holds of a comparison."""
        arms = {name: config.flat() for name, config in self.plan.configs.items()}
        shared = {
            key: value
            for key, value in next(iter(arms.values())).items()
            if all(arm[key] == value for arm in arms.values()) and key != "seed"
        }
        own = {name: {k: v for k, v in arm.items() if k not in shared and k != "seed"} for name, arm in arms.items()}
        return {
            "config": {**shared, "seeds": list(seeds)},
            "arms": own,
            **records.environment(),
            "data": self.data(seeds[0]).describe() if seeds else {},
        }

    def teacher_figures(self) -> dict[str, dict[str, float]]:
        """The mean figures of each teacher over the seeds."""
        means: dict[str, dict[str, float]] = {}
        for spec, found in self.teachers.items():
            keys = [key for key in found[0] if not key.startswith("teacher_")]
            means[spec] = {key: sum(one.get(key, 0.0) for one in found) / len(found) for key in keys}
        return means


def check_all(plan: Plan, bench: _Bench, seeds: Sequence[int]) -> tuple[str, ...]:
    """Put every arm together for the first seed, so that nothing is refused after an hour of computing.

    Returns:
        The figures that all arms report, the usual one first.

    Raises:
        DidactError: An arm cannot work.
    """
    figures = dict.fromkeys(bench.data(seeds[0]).metrics) if seeds else {}
    for name in plan.configs if seeds else ():
        data = bench.data(seeds[0], name)
        reported = prepare(bench.config(name, seeds[0]), bench.objects(name), data=data, teach=False).evaluator.metrics
        figures = {figure: None for figure in figures if figure in reported}
    return tuple(figures)


def _runner(bench: _Bench, name: str) -> Callable[[int], ArmResult]:
    def run(seed: int) -> ArmResult:
        result = bench.teach(name, seed)
        return ArmResult({**result.metrics, **_agreement(result)}, result.cost, result.diagnostics)

    return run


def _agreement(result: running.RunResult) -> dict[str, float]:
    return {key: value for key, value in result.teacher.items() if key.startswith("teacher_")}


def _baseline_runner(bench: _Bench, name: str) -> Callable[[int], ArmResult]:
    def run(seed: int) -> ArmResult:
        return bench.material(bench.first).baseline(name, bench.data(seed), bench.config(bench.first, seed))

    return run


def _baselines(wanted: str | Sequence[str], bench: _Bench, seeds: Sequence[int]) -> list[str]:
    """The names of the baselines to run: those that were named as arms, and those that are asked for."""
    if not seeds:
        raise ConfigError("seeds is empty; give at least one, and 5 or more for an interval worth reading.")
    material, config = bench.material(bench.first), bench.config(bench.first, seeds[0])
    fitting = material.baselines(bench.data(seeds[0]), config)
    if wanted == "auto":
        names = _cheap(fitting)
    elif wanted == "none":
        names = []
    else:
        names = [name.strip() for name in wanted.split(",")] if isinstance(wanted, str) else list(wanted)
    for name in (*names, *bench.plan.baselines):
        if name not in fitting:
            raise ConfigError(f"There is no baseline {name!r} for these data. {nearest(name, fitting)}")
    return list(dict.fromkeys([*bench.plan.baselines, *names]))


def _cheap(fitting: Sequence[str]) -> list[str]:
    """All that fit, where scikit-learn is there."""
    try:
        import sklearn  # noqa: F401
    except ImportError:
        return []
    return list(fitting)


def read(directory: Path) -> ComparisonRun:
    """Read a comparison back from its directory.

    Raises:
        DataError: The directory holds none.
    """
    try:
        comparison = Comparison.from_json((directory / "result.json").read_text(encoding="utf-8"))
        description = read_object(directory / "config.json")
    except (OSError, ValueError) as error:
        raise DataError(f"{str(directory)!r} is not the directory of a comparison: {error}.") from None
    return ComparisonRun(comparison, {}, description)
