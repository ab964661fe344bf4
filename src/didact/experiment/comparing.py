"""Comparisons of several arms and cheap baselines on the same data, seeds and budget."""

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
    """A comparison with its configurations and records."""

    comparison: Comparison
    arms: dict[str, RunConfig | str]
    """The configuration of each arm by name, or the name of a baseline."""
    description: Document
    """The contents of `config.json`: versions, commit, data and configuration."""
    curves: dict[str, list[list[Document]]] = field(default_factory=dict)
    verdicts: dict[str, list[tuple[int, Verdict]]] = field(default_factory=dict)
    teachers: dict[str, dict[str, float]] = field(default_factory=dict)
    """The mean metrics of each teacher on the test examples, and the mean cost of training it here."""
    notes: tuple[str, ...] = ()
    """Notes of the first seed's runs for a reader of the figures."""
    interrupted: bool = False
    """Whether it ended early; it then has the seeds that every arm finished."""

    def write(self, directory: Path, report_path: Path | None = None) -> Path:
        """Write `config.json`, `result.json` and the report; returns the report's path."""
        directory.mkdir(parents=True, exist_ok=True)
        records.write_json(directory / "config.json", self.description)
        (directory / "result.json").write_text(self.comparison.to_json() + "\n", encoding="utf-8")
        return self.write_report(report_path or directory / "report.html")

    def write_report(self, path: Path) -> Path:
        """Write only the report; returns its path."""
        return report.write_comparison_report(
            path, self.comparison, config=self.description, curves=self.curves, verdicts=self.verdicts, notes=self.notes
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
    """Run several methods at equal budget over several seeds, and compare them by paired differences.

    With the same seed, all arms have the same split, labels, initial weights of the student, and teacher. All arms are
    checked before the first one is trained.

    Args:
        arms: methods, such as `"distill,temperature=2,teacher=random"` with its own settings; a mapping names the arms.
        seeds: distinct seeds.
        reference: the arm that the others are compared with; by default `supervised` if given, else the first.
        metric: the metric to compare; by default accuracy, or R2 for a regression.
        baselines: names of cheap baselines, `auto` for those that fit the data, or `none`.
        on_result: called with each result as it comes: arm, seed, result.
        settings: settings of all arms: fields of `RunConfig` such as `labels=100, steps=500`; `data`, `student` (a
            module is copied for each run), `verifier`, and for the arms that take one `teacher`, which may be objects
            as in `run`.

    Returns:
        The comparison with its configurations and records.

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
        notes=bench.notes_by_arm(),
        interrupted=interrupted,
    )


def _metric(name: str | None, known: Sequence[str]) -> str:
    """The metric to compare, checked before anything is computed: every arm must report it."""
    if name is not None:
        check_choice("metric", name, known)
        return name
    if known[0] == "length":
        raise ConfigError(
            "metric is not given, and no metric of the arms ranks completions; give a verifier, a completion for each "
            f"question, or one of {', '.join(known)} as the metric."
        )
    return known[0]


def _evaluate(
    runs: Mapping[str, Callable[[int], ArmResult]],
    seeds: Sequence[int],
    reference: str,
    metric: str,
    on_result: Callable[[str, int, ArmResult], None] | None,
) -> tuple[Comparison, bool]:
    """The comparison, and whether it was interrupted and has only the finished seeds."""
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
    """After an interruption, the comparison over the seeds that every arm finished."""
    complete = min(len(found) for found in results.values())
    if not complete:
        raise KeyboardInterrupt
    kept = {arm: iter(found[:complete]) for arm, found in results.items()}
    again = {arm: lambda _seed, found=found: next(found) for arm, found in kept.items()}
    return evaluation.compare(again, list(seeds)[:complete], reference=reference, metric=metric)


class _Bench:
    """Runs arms, and caches what they share: data by seed, and warm starts."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.opened: dict[tuple[int, str, str], Data] = {}
        self.trained: dict[tuple[int, int, str], tuple[Document, Cost]] = {}
        self.curves: dict[str, list[list[Document]]] = {name: [] for name in plan.configs}
        self.verdicts: dict[str, list[tuple[int, Verdict]]] = {name: [] for name in plan.configs}
        self.teachers: dict[str, list[dict[str, float]]] = {}
        self.notes: dict[str, list[str]] = {}
        self.first = next(iter(plan.configs))

    def config(self, name: str, seed: int) -> RunConfig:
        """An arm's configuration for a seed."""
        return self.plan.configs[name].replace(seed=seed)

    def material(self, name: str) -> Material[Data]:
        """An arm's material."""
        return finding.find(catalogue.find(self.plan.configs[name].method))

    def data(self, seed: int, name: str | None = None) -> Data:
        """The split data for a seed, as an arm's student reads them."""
        name = name or self.first
        config, material = self.config(name, seed), self.material(name)
        key = (seed, material.name, material.reads(config))
        if key not in self.opened:
            # Seeds run one after the other, so only the current one's splits are kept.
            self.opened = {kept: data for kept, data in self.opened.items() if kept[0] == seed}
            self.opened[key] = material.open(config, self.plan.objects[name].data)
        return self.opened[key]

    def objects(self, name: str) -> Objects:
        """An arm's objects, with a copy of a student module."""
        given = self.plan.objects[name]
        student = copy.deepcopy(given.student) if isinstance(given.student, nn.Module) else given.student
        return dataclasses.replace(given, student=student)

    def keeper(self, config: RunConfig) -> Keeper:
        """A keeper that shares warm starts between the arms with the same seed."""

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
        """Run one arm with one seed."""
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
        for note in result.notes if len(self.curves[name]) == 1 else ():
            self.notes.setdefault(note, []).append(name)
        if result.teacher and result.config.teacher is not None:
            cost = {"cost/labels": float(result.teacher_cost.labels), "cost/seconds": result.teacher_cost.seconds}
            seen = {"seen": float(result.teacher_seen != 0)}
            self.teachers.setdefault(result.config.teacher, []).append({**result.teacher, **cost, **seen})
        return result

    def description(self, seeds: Sequence[int]) -> Document:
        """The contents of `config.json` of a comparison."""
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

    def notes_by_arm(self) -> tuple[str, ...]:
        """The notes, each with its arms where it is not of all."""
        every = len(self.plan.configs)
        return tuple(note if len(arms) == every else f"{', '.join(arms)}: {note}" for note, arms in self.notes.items())

    def teacher_figures(self) -> dict[str, dict[str, float]]:
        """The mean metrics and costs of each teacher over the seeds."""
        means: dict[str, dict[str, float]] = {}
        for spec, found in self.teachers.items():
            keys = [key for key in found[0] if not key.startswith("teacher_")]
            means[spec] = {key: sum(one.get(key, 0.0) for one in found) / len(found) for key in keys}
        return means


def check_all(plan: Plan, bench: _Bench, seeds: Sequence[int]) -> tuple[str, ...]:
    """Assemble and check every arm for the first seed, before anything is computed.

    Returns:
        The metrics that all arms report, the usual one first.

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
    """The names of the baselines to run: those given as arms, and those of `wanted`."""
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
    """All baselines that fit, if scikit-learn is installed; otherwise those that do not need it."""
    try:
        import sklearn  # noqa: F401
    except ImportError:
        return [name for name in fitting if name in evaluation.CONSTANTS]
    return list(fitting)


def read(directory: Path) -> ComparisonRun:
    """Read a comparison from its directory.

    Raises:
        DataError: The directory has none.
    """
    try:
        comparison = Comparison.from_json((directory / "result.json").read_text(encoding="utf-8"))
        description = read_object(directory / "config.json")
    except (OSError, ValueError) as error:
        raise DataError(f"{str(directory)!r} is not the directory of a comparison: {error}.") from None
    return ComparisonRun(comparison, {}, description)
