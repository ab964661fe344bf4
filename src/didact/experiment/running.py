"""Runs, from a configuration to a student with its metrics; and resumption of runs."""

import copy
import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from didact import catalogue, hashing, health, trusting
from didact.documents import Document
from didact.errors import CheckpointError, ConfigError, DataError, EngineError, PausedError, RunError
from didact.evaluation import card, report
from didact.experiment import config as configs
from didact.experiment import leaks, records
from didact.experiment.config import RunConfig, resolve_aliases
from didact.experiment.keeping import Keeper, ModelStore
from didact.experiment.material import Data, Evaluation, Objects, Run, remarks_of
from didact.experiment.preparing import prepare
from didact.experiment.reading import ALIASES
from didact.loop import FitResult, RunDirectory, Validation, fit
from didact.loop.checkpoint import list_checkpoints
from didact.loop.devices import find_device
from didact.loop.place import find_place
from didact.types import Cost, Verdict


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """The result of a run."""

    status: str
    """`done`, `interrupted`, `paused` or `stopped`."""
    reason: str
    """The status in a sentence."""
    metrics: dict[str, float]
    """Metrics on the test examples, from `evaluation.metrics`; empty unless the run is done."""
    validation: dict[str, float]
    """Metrics of the delivered student on the validation examples; empty if there are none."""
    teacher: dict[str, float]
    """The teacher's own metrics on the test examples, and the student's agreement with it; empty without one."""
    teacher_seen: int | None
    """How many test examples the teacher was fitted on, so that its figures flatter it; None if that is not known."""
    teacher_unseen: dict[str, float]
    """The teacher's metrics on the other test examples, and the student's as `student/NAME`, if it has seen some."""
    constant: dict[str, float]
    """The metrics of a constant answer on the test examples: the commonest class or the mean; empty for text tasks."""
    cost: Cost
    """The cost of training the student."""
    spent: dict[str, dict[str, int | float]]
    """The cost by source (`batches`, `teacher`, `validation`) and axis."""
    teacher_cost: Cost
    """The cost of training the teacher here; zero for a finished teacher."""
    notes: tuple[str, ...]
    """Notes for a reader of the figures."""
    history: list[Document] = field(repr=False)
    """The records of `metrics.jsonl`."""
    verdicts: list[tuple[int, Verdict]] = field(repr=False)
    """Pairs of a step and a monitor's verdict."""
    student: Any = field(repr=False)
    """The trained student."""
    config: RunConfig
    """The configuration with all defaults resolved."""
    directory: Path | None = None
    """The run's directory; None if nothing was written."""
    committee: Document = field(default_factory=dict, repr=False)
    """What each member of a committee of teachers taught, and what it is worth; empty without one."""
    diagnostics: Document = field(default_factory=dict, repr=False)
    """Data for the figures of the report, from the student's predictions on the test examples."""

    @property
    def learner(self) -> Any:
        """The net that was taught: of a student of examples, the one in it."""
        return getattr(self.student, "learner", self.student)

    @property
    def recalls(self) -> dict[str, float]:
        """The recall on the test examples by class, of the classes that occur there; empty unless it classifies."""
        rows = zip(self.diagnostics.get("classes", ()), self.diagnostics.get("confusion", ()), strict=True)
        return {name: row[number] / sum(row) for number, (name, row) in enumerate(rows) if sum(row)}

    def as_dict(self) -> Document:
        """The contents of `result.json`."""
        return {
            "status": self.status,
            "reason": self.reason,
            "metrics": self.metrics,
            "validation": self.validation,
            "teacher": self.teacher,
            "teacher_seen": self.teacher_seen,
            "teacher_unseen": self.teacher_unseen,
            "constant": self.constant,
            "recalls": self.recalls,
            "committee": self.committee,
            "cost": self.cost.as_dict(),
            "spent": self.spent,
            "teacher_cost": self.teacher_cost.as_dict(),
            "parameters": sum(p.numel() for p in self.learner.parameters()),
            "notes": list(self.notes),
        }


def run(
    config: RunConfig | str | None = None,
    *,
    directory: str | Path | None = None,
    data: object = None,
    student: Any = None,
    teacher: object = None,
    verifier: object = None,
    **settings: object,
) -> RunResult:
    """Train a student with a method.

    Args:
        config: the configuration, or the name of a method; alternatively, its fields are keyword arguments, with
            `method` and the method's own options. `steps`, `epochs` and `seconds` are a budget.
        directory: where metrics, checkpoints, the student and the report are written; without one, nothing is written.
        data: a name or path; or `Examples`, a data frame (with `target`), a pair (x, y), a mapping with `x` and
            `label`, or a `Dataset` or `DataLoader` of torch.
        student: a spec; or an `nn.Module`, which is trained in place, or a function that returns one. `learner` is an
            alias.
        teacher: a spec; or an `nn.Module`, a fitted estimator, a function of the rows (see
            `didact.teachers.FunctionTeacher`), or anything with `signal(batch)`.
        verifier: for language models, a spec; or a function of a text and a `Question` that returns a float, or a
            `didact.teachers.Verifier`.
        settings: fields of `RunConfig` by their flags, and options of the method.

    Returns:
        The student with its metrics.

    Raises:
        DidactError: Something does not fit; the message names the field, the value and what would work.

    Examples:
        >>> result = didact.run("distill", data="wine", teacher="mlp:8", student="mlp:4", steps=200, progress=False)
        >>> result.status, result.cost.steps
        ('done', 200)
        >>> result.metrics["accuracy"] > result.constant["accuracy"]
        True
        >>> result.student.classes
        ('class_0', 'class_1', 'class_2')
    """
    config, objects = split_arguments(
        config,
        data=data,
        teacher=teacher,
        verifier=verifier,
        **({} if student is None else {"student": student}),
        **settings,
    )
    if directory is None:
        return execute(config, objects)
    place = find_place(find_device(config.loop.device))
    return _in_directory(config, objects, place.broadcast(Path(directory)))


def resume(directory: str | Path, *, trust: Iterable[str] = (), progress: bool = True, **objects: object) -> RunResult:
    """Resume a run that was interrupted, paused or killed; the result is that of an uninterrupted run.

    Args:
        directory: the run's directory.
        trust: code (`package.module:factory`, a method's module or file), downloads (`hf:NAME`) and types in .skops
            files that the run may use; what its `config.json` names is not trusted by itself.
        progress: whether to show a progress bar, in a terminal.
        objects: the Python objects that the run was started with: `data`, `student`, `teacher`, `verifier`.

    Raises:
        CheckpointError: It is no run, its checkpoints are gone, or the data are not those that it started with.
        ConfigError: A Python object of the run is not given again.
        TrustError: It names code or a download that is not in `trust`.
    """
    directory = Path(directory)
    stored = records.read_config(directory)
    if (directory / "result.json").exists() and not list_checkpoints(directory / "checkpoints"):
        raise CheckpointError(
            f"The run {directory} has a result, but its checkpoints are gone, so that it could only begin anew. "
            "Restore them to resume it, use its student as it is, or start a new run."
        )
    given = Objects(**resolve_aliases(objects))
    wanted = [ALIASES.get(str(name), str(name)) for name in stored["objects"]]
    missing = [name for name in wanted if getattr(given, name) is None]
    if missing:
        raise ConfigError(
            f"The run {directory} was given its {' and '.join(missing)} from Python; resume it from there: "
            f"didact.resume({str(directory)!r}, {', '.join(f'{name}=...' for name in missing)})."
        )
    trusted = tuple(trust)
    with trusting.untrusted(directory / "config.json", trusted), records.working_folder(directory, stored) as path:
        try:
            config = configs.make_config({**stored["config"], "trust": trusted, "progress": progress})
        except ConfigError as error:
            raise ConfigError(f"{directory / 'config.json'} is invalid: {error}") from None
        return dataclasses.replace(_in_directory(config, given, path, stored=stored), directory=directory)


def split_arguments(config: RunConfig | str | None = None, **settings: object) -> tuple[RunConfig, Objects]:
    """Split arguments into a configuration and Python objects.

    Args:
        config: a configuration that the settings change, or the name of a method, if any.
        settings: fields by their flags, options of the method, and objects that replace specs.

    Raises:
        ConfigError: A setting is neither a field of `RunConfig` nor an option of the method, or is given by two names.
    """
    if isinstance(config, str):
        if "method" in settings:
            raise ConfigError(
                f"{config!r} is given as the method, and method is {settings['method']!r} besides; give one of them."
            )
        return split_arguments(None, method=config, **settings)
    if config is not None and not isinstance(config, RunConfig):
        raise ConfigError(
            f"config is {type(config).__name__}, but must be a RunConfig or the name of a method; give the rest by "
            "name, as in didact.run('sft', data=...)."
        )
    parts = [part.name for part in dataclasses.fields(Objects)]
    none = {name for name, value in settings.items() if value is None and ALIASES.get(name, name) in parts}
    given = resolve_aliases({name: value for name, value in settings.items() if name not in none})
    words: Document = {name: str(value) if isinstance(value, Path) else value for name, value in given.items()}
    objects = {name: words.pop(name) for name in parts if not isinstance(words.get(name, ""), str)}
    method = words.get("method", None if config is None else config.method)
    own = {option.name for option in catalogue.find(method).options} if isinstance(method, str) else set()
    options = {name: words.pop(name) for name in own - configs.PLACES.keys() if name in words}
    inner = words.get("options", {})
    if options and isinstance(inner, Mapping):
        words["options"] = {**inner, **options}
    if config is not None and not words:
        return config, Objects(**objects)
    return configs.make_config(words) if config is None else config.replace(**words), Objects(**objects)


def execute(
    config: RunConfig,
    objects: Objects,
    *,
    data: Data | None = None,
    keeper: Keeper | None = None,
) -> RunResult:
    """Run in memory, without writing anything."""
    if any(choice.endswith("roll_back") for choice in config.monitors):
        raise ConfigError(
            f"monitors is {', '.join(config.monitors)}, but rolling back needs the checkpoints of a run with a "
            "directory; ask for pause or stop instead, or give a directory."
        )
    run = prepare(config, objects, data=data, keeper=keeper)
    return _finished(run, _fit(run, None))


def teach(config: RunConfig, objects: Objects, data: Data) -> Any:
    """Train a student on data that are loaded, and deliver it without an evaluation; nothing is written.

    Raises:
        DidactError: Something does not fit, or training ended before its budget.
        KeyboardInterrupt: It was interrupted.
    """
    run = prepare(config, objects, data=data)
    result = _fit(run, None)
    if result.status == "interrupted":
        raise KeyboardInterrupt(result.reason)
    if result.status != "done":
        raise RunError(f"Training ended before its budget: {result.reason}")
    return run.material.deliver(run)


def _fit(run: Run[Data], directory: RunDirectory | None, *, going_on: bool = False) -> FitResult:
    config, evaluator, validation = run.config, run.evaluator, None
    loop = dataclasses.replace(config.loop, log_every=config.loop.log_every or run.material.log_every)
    every, steps = loop.evaluate_every, config.budget.steps
    if every is None:
        # Ten times per run, if the number of steps is known.
        if steps is None and config.budget.epochs is not None:
            steps = int(config.budget.epochs * run.source.epoch_size / config.batches.size)
        every = max(1, (steps or 1000) // 10)
    if evaluator.validates:
        some = evaluator.held_out, evaluator.held_in
        validation = Validation(evaluator.validate, evaluator.metric, config.select, *some)
    return fit(
        run.method,
        run.source,
        budget=config.budget,
        optimizer=config.optimizer,
        loop=dataclasses.replace(loop, evaluate_every=every if evaluator.validates else None),
        monitors=health.monitors(run.material.name, config.monitors),
        validation=validation,
        run=directory,
        seed=hashing.stream(config.seed, "training"),
        resume=going_on,
    )


def _in_directory(
    config: RunConfig,
    objects: Objects,
    path: Path,
    *,
    stored: Document | None = None,
) -> RunResult:
    """Run in a directory, or resume the run that is stored there.

    The directory is created only after all checks.
    """
    opened = list[RunDirectory]()

    def begin(run: Run[Data]) -> None:
        if stored is not None and stored["data"].get("fingerprint") != run.data.fingerprint:
            raise CheckpointError(
                f"The data {config.data.source!r} are not those that the run {path} started with; restore them, or "
                "start a new run."
            )
        opened.append(RunDirectory(path, fresh=stored is None, track=run.config.loop.track, writes=run.place.first))
        if stored is None and run.place.first:
            document = records.run_description(path, run.config, list(objects.names()), run.data.describe())
            records.write_json(path / "config.json", document)

    first = path / "teachers"
    try:
        run = prepare(config, objects, keeper=ModelStore(first), directory=first, begin=begin)
        (directory,) = opened
        try:
            result = _fit(run, directory, going_on=stored is not None)
        except EngineError as error:
            raise PausedError(f"{error} Once it answers, go on with: {directory.resumed_by}") from error
        finished = _finished(run, result, path)
        if run.place.first:
            _save(run, finished, path)
            if finished.status == "done":
                directory.prune()
        return finished
    finally:
        for directory in opened:
            directory.close()


def _finished(run: Run[Data], result: FitResult, directory: Path | None = None) -> RunResult:
    """Evaluate the delivered student of a completed run."""
    cost, parts = copy.copy(result.cost), dict(result.parts)
    evaluation = Evaluation(metrics={}, validation={}, teacher={})
    if result.status == "done":
        # One process evaluates, and the others wait for its metrics.
        evaluation = run.place.broadcast(run.evaluator.test() if run.place.first else evaluation)
    cost.labels += evaluation.labels
    parts["validation"] = Cost(labels=evaluation.labels)
    return RunResult(
        status=result.status,
        reason=result.reason,
        metrics=evaluation.metrics,
        validation=evaluation.validation,
        teacher=evaluation.teacher,
        teacher_seen=evaluation.teacher_seen,
        teacher_unseen=evaluation.teacher_unseen,
        constant=evaluation.constant,
        cost=cost,
        spent={part: spent for part, cost in parts.items() if (spent := cost.spent())},
        teacher_cost=run.teacher_cost,
        notes=(*_shared_notes(run), *_remarks(run), *leaks.find_leaks(run), *run.evaluator.notes(evaluation)),
        history=result.history,
        verdicts=result.verdicts,
        student=run.material.deliver(run),
        config=run.config,
        directory=directory,
        committee=evaluation.committee,
        diagnostics=evaluation.diagnostics,
    )


def _shared_notes(run: Run[Data]) -> Iterator[str]:
    """Notes on items that are in two splits."""
    found = run.data.duplicates
    if found:
        more = f" And {len(found) - 1} more." if len(found) > 1 else ""
        yield f"The splits share {run.material.name}: {next(iter(found))}{more} The figures flatter the student."


def _remarks(run: Run[Data]) -> Iterator[str]:
    """What teachers and judges behind servers took, and how often they abstained."""
    for part in run.advisers:
        yield from remarks_of(part)


def _save(run: Run[Data], result: RunResult, path: Path) -> None:
    """Write the result, the student and the report."""
    records.write_json(path / "result.json", result.as_dict())
    if result.status != "done":
        return
    run.material.save(run, path)
    if (path / "student").is_dir():
        card.write_card(path / "student" / card.FILE, records.read_config(path), result.as_dict())
    records.write_json(path / "diagnostics.json", result.diagnostics)
    write_report(path)


def write_report(path: Path, out: Path | None = None) -> Path:
    """Write the report of a run's directory; returns its path."""
    try:
        return report.write_run_report(out or path / "report.html", **report.read_run(path))
    except (AttributeError, LookupError, TypeError) as error:
        raise DataError(
            f"{path} has files that are not from a run, so no report can be written "
            f"({type(error).__name__}: {error}). Restore its files."
        ) from error
