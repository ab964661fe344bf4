"""Comparisons of several arms and cheap baselines on the same data, seeds and budget."""

import copy
import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from didact import catalogue, evaluation, files, trusting
from didact.documents import Document, read_object
from didact.errors import (
    ConfigError,
    DataError,
    DidactError,
    PausedError,
    PeerError,
    RunError,
    check_choice,
    nearest,
)
from didact.evaluation import ArmResult, Comparison, report
from didact.evaluation.comparison import check_smallest_effect
from didact.experiment import config as configs
from didact.experiment import finding, records, running
from didact.experiment.arm_store import ArmRecord, ArmStore, opened
from didact.experiment.arms import Arm, Plan
from didact.experiment.config import RunConfig
from didact.experiment.keeping import Keeper
from didact.experiment.material import Data, Material, Objects
from didact.experiment.preparing import prepare
from didact.loop.progress import label
from didact.types import Cost, Verdict
from didact.types.frozen import load_module_state, module_state


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
    early: dict[str, float] = field(default_factory=dict)
    """By arm with stages, the share of its steps that those before the last one take."""
    interrupted: bool = False
    """Whether it ended early; it then has the seeds that every arm finished."""

    def write(self, directory: Path, report_path: Path | None = None) -> Path:
        """Write `config.json`, `result.json` and the report; returns the report's path."""
        records.write_json(directory / "config.json", self.description)
        self.write_result(directory / "result.json")
        return self.write_report(report_path or directory / "report.html")

    def write_result(self, path: Path) -> None:
        """Write the comparison alone as JSON, atomically."""
        with files.whole_file(path) as partial:
            partial.write_text(self.comparison.to_json() + "\n", encoding="utf-8")

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
    smallest_effect: float | None = None,
    baselines: str | Sequence[str] = "auto",
    stages: Mapping[str, Sequence[str]] | None = None,
    on_result: Callable[[str, int, ArmResult], None] | None = None,
    directory: str | Path | None = None,
    resume: bool = False,
    **settings: object,
) -> ComparisonRun:
    """Run several methods at equal budget over several seeds, and compare them by paired differences.

    With the same seed, all arms have the same split, labels, initial weights of the student, and teacher. All arms are
    checked with all seeds before the first one is trained. An arm that breaks down with a seed is a row without
    figures; the others go on.

    Args:
        arms: methods, such as `"distill,temperature=2,teacher=random"` with its own settings; a mapping names the arms.
        seeds: distinct seeds.
        reference: the arm that the others are compared with; by default `supervised` if given, else the first.
        metric: the metric to compare; by default accuracy, or R2 for a regression.
        smallest_effect: the smallest effect of interest, in the metric's unit (0.01 is a point of accuracy): an arm
            whose whole interval is smaller is `equivalent`. Without it, what is not better or worse is `undecided`.
        baselines: names of cheap baselines, `auto` for those that fit the data, or `none`.
        stages: by arm, the options of its method that hold the shares of its earlier stages, such as
            `{"fitnet": ["hint_share"]}`: its steps are extended, so that its last stage is as long as the whole run of
            the others.
        on_result: called with each result as it comes: arm, seed, result.
        directory: where each finished arm and seed is kept as it comes; without one, nothing is written.
        resume: go on with the comparison of `directory`, of the same arms, seeds and settings, which was stopped.
        settings: settings of all arms: fields of `RunConfig` such as `labels=100, steps=500`; `data`, `student` (a
            module is copied for each run), `verifier`, and for the arms that take one `teacher`, which may be objects
            as in `run`.

    Returns:
        The comparison with its configurations and records.

    Raises:
        DidactError: Something does not fit; the message names the field, the value and what would work.

    Examples:
        >>> compared = didact.compare(
        ...     ["supervised", "distill"], data="wine", teacher="mlp:8", student="mlp:4", steps=5, seeds=(0, 1),
        ...     baselines="none", progress=False,
        ... )
        >>> compared.comparison.arms, compared.comparison.reference
        (('supervised', 'distill'), 'supervised')
        >>> compared.comparison.finding("distill") in ("better", "worse", "undecided")
        True
    """
    plan = Plan(arms, settings, stages)
    bench = _Bench(plan, None if directory is None else Path(directory))
    names = _baselines(baselines, bench, seeds)
    known = check_all(plan, bench, seeds)
    runs = {name: _runner(bench, name) for name in (*plan.configs, *names)}
    reference = reference or ("supervised" if "supervised" in runs else next(iter(runs)))
    metric = _metric(metric, known)
    check_choice("reference", reference, runs)
    check_smallest_effect(smallest_effect, metric)
    chosen = {"reference": reference, "metric": metric, "smallest_effect": smallest_effect, "baselines": names}
    chosen["stages"] = {arm: list(options) for arm, options in (stages or {}).items()}
    description = {**bench.description(seeds), **chosen}
    if bench.directory is not None:
        description["folder"] = os.path.relpath(Path.cwd(), bench.directory)
    with opened(bench.directory, description, resume):
        comparison, interrupted = _evaluate(runs, seeds, reference, metric, on_result)
        comparison = dataclasses.replace(comparison, smallest_effect=smallest_effect)
    return ComparisonRun(
        comparison,
        {**plan.configs, **{name: name for name in names}},
        description,
        curves=bench.curves,
        verdicts=bench.verdicts,
        teachers=bench.teacher_figures(),
        notes=bench.notes_by_arm(),
        early=plan.early,
        interrupted=interrupted,
    )


def resume(
    directory: str | Path,
    *,
    trust: Iterable[str] = (),
    progress: bool = True,
    on_result: Callable[[str, int, ArmResult], None] | None = None,
) -> ComparisonRun:
    """Go on with a comparison that was stopped: the arms and seeds that are stored are not run again.

    Args:
        directory: the directory of the comparison.
        trust: what its `config.json` may name, as in `didact.resume`.
        progress: whether to show the progress of each run.
        on_result: as in `compare`; called with the stored results too.

    Raises:
        CheckpointError: It is no comparison, or the data are not those that it started with.
        ConfigError: It was given Python objects; call `compare` again with `directory` and `resume=True`.
        TrustError: It names code or a download that is not in `trust`.
    """
    directory, trusted = Path(directory), tuple(trust)
    stored = records.read_comparison(directory)
    if stored["objects"]:
        raise ConfigError(
            f"The comparison {directory} was given its {' and '.join(stored['objects'])} from Python; go on from "
            f"there: call didact.compare again with the same arguments, directory={str(directory)!r} and resume=True."
        )
    shared = {key: value for key, value in stored["config"].items() if key != "seeds"}
    own = {"trust": trusted, "progress": progress}
    with trusting.untrusted(directory / "config.json", trusted), records.working_folder(directory, stored) as found:
        arms = {name: configs.make_config({**shared, **arm, **own}) for name, arm in stored["arms"].items()}
        return compare(
            {**arms, **{name: name for name in stored["baselines"]}},
            seeds=stored["config"]["seeds"],
            reference=stored["reference"],
            metric=stored["metric"],
            smallest_effect=stored.get("smallest_effect"),
            stages=stored.get("stages"),
            baselines="none",
            on_result=on_result,
            directory=found,
            resume=True,
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

    def __init__(self, plan: Plan, directory: Path | None = None) -> None:
        self.plan, self.directory, self.store = plan, directory, ArmStore(directory)
        self.opened: dict[tuple[int, str, str], Data] = {}
        self.trained: dict[tuple[int, int, str], tuple[Document, Cost]] = {}
        self.curves: dict[str, list[list[Document]]] = {name: [] for name in plan.configs}
        self.verdicts: dict[str, list[tuple[int, Verdict]]] = {name: [] for name in plan.configs}
        self.teachers: dict[str, list[dict[str, float]]] = {}
        self.notes: dict[str, list[str]] = {}
        self.first = next(iter(plan.configs))

    def config(self, name: str, seed: int) -> RunConfig:
        """An arm's configuration for a seed."""
        return self.plan.config(name, seed)

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
                self.trained[key] = (copy.deepcopy(module_state(model)), cost)
            if key not in self.trained:
                return None
            state, spent = self.trained[key]
            load_module_state(model, state)
            return copy.copy(spent)

        return keep

    def teach(self, name: str, seed: int) -> ArmRecord:
        """Run one arm with one seed."""
        if name not in self.plan.configs:
            return ArmRecord(
                result=self.material(self.first).baseline(name, self.data(seed), self.config(self.first, seed))
            )
        config = self.config(name, seed)
        data = self.data(seed, name)
        try:
            with label(f"{name}, seed {seed}"):
                result = running.execute(config, self.objects(name), data=data, keeper=self.keeper(config))
        except (PausedError, PeerError):
            raise
        except (RunError, DataError) as error:
            # Its answers are not finite, for instance: a result of the arm, as its data could be read.
            return ArmRecord(result=ArmResult({}, Cost(), failed=str(error)))
        if result.status == "interrupted":
            raise KeyboardInterrupt
        failed = "" if result.status == "done" else result.reason
        cost = {"cost/labels": float(result.teacher_cost.labels), "cost/seconds": result.teacher_cost.seconds}
        seen = {"seen": float(result.teacher_seen != 0)}
        known = bool(result.teacher) and result.config.teacher is not None
        return ArmRecord(
            result=ArmResult(
                {**result.metrics, **_agreement(result)},
                result.cost,
                result.diagnostics,
                failed,
                result.validation,
            ),
            curve=result.history,
            verdicts=result.verdicts,
            teacher=result.config.teacher if known else None,
            teacher_figures={**result.teacher, **cost, **seen} if known else {},
            notes=result.notes,
        )

    def note(self, name: str, record: ArmRecord) -> None:
        """Take note of what the comparison shows of a run besides its result."""
        if name not in self.plan.configs:
            return
        self.curves[name].append(record.curve)
        self.verdicts[name].extend(record.verdicts)
        for note in record.notes if len(self.curves[name]) == 1 else ():
            self.notes.setdefault(note, []).append(name)
        if record.teacher is not None:
            self.teachers.setdefault(record.teacher, []).append(record.teacher_figures)

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
            "objects": sorted({part for objects in self.plan.objects.values() for part in objects.names()}),
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
    """Assemble and check every arm for the first seed, and one arm of each kind of data for the others.

    Returns:
        The metrics that all arms report, the usual one first.

    Raises:
        DidactError: An arm cannot work, or the data cannot be split with a seed; nothing has been computed.
    """
    figures = dict.fromkeys(bench.data(seeds[0]).metrics)
    for name in plan.configs:
        reported = _checked(bench, name, seeds[0])
        figures = {figure: None for figure in figures if figure in reported}
    kinds = {(bench.material(name).name, bench.material(name).reads(plan.configs[name])): name for name in plan.configs}
    for seed in seeds[1:]:
        for name in kinds.values():
            try:
                _checked(bench, name, seed)
            except DidactError as error:
                raise ConfigError(f"With seed {seed}, the arm {name!r} cannot run: {error}") from error
    return tuple(figures)


def _checked(bench: _Bench, name: str, seed: int) -> Sequence[str]:
    """Assemble and check an arm with a seed; returns the metrics that it reports."""
    run = prepare(bench.config(name, seed), bench.objects(name), data=bench.data(seed, name), teach=False)
    return run.evaluator.metrics


def _runner(bench: _Bench, name: str) -> Callable[[int], ArmResult]:
    def run(seed: int) -> ArmResult:
        record = bench.store.read(name, seed)
        if record is None:
            try:
                record = bench.teach(name, seed)
            except (PausedError, PeerError):
                raise
            except (DidactError, torch.OutOfMemoryError) as error:
                # Not stored: it may be mended before the comparison is resumed.
                return ArmResult({}, Cost(), failed=str(error))
            bench.store.write(name, seed, record)
        bench.note(name, record)
        return record.result

    return run


def _agreement(result: running.RunResult) -> dict[str, float]:
    return {key: value for key, value in result.teacher.items() if key.startswith("teacher_")}


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
    """Read a comparison from its directory, with the stored records of its arms.

    Raises:
        DataError: The directory has none.
    """
    try:
        comparison = Comparison.from_json((directory / "result.json").read_text(encoding="utf-8"))
        description = read_object(directory / "config.json")
    except (OSError, ValueError) as error:
        raise DataError(f"{str(directory)!r} is not the directory of a comparison: {error}.") from None
    store, names = ArmStore(directory), description.get("arms", {})
    found = {arm: [kept for seed in comparison.seeds if (kept := store.read(arm, seed))] for arm in names}
    return ComparisonRun(
        comparison,
        {},
        description,
        curves={arm: [one.curve for one in kept] for arm, kept in found.items()},
        verdicts={arm: [verdict for one in kept for verdict in one.verdicts] for arm, kept in found.items()},
    )
