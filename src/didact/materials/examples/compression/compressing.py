"""`didact compress`: the smallest or fastest student within a distance of its teacher."""

import contextlib
import copy
import dataclasses
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch

from didact import evaluation, trusting
from didact.documents import Document, read_object
from didact.errors import CheckpointError, ConfigError, RunError, check_range
from didact.evaluation import Predictions, card, report
from didact.evaluation.paired import metric_interval
from didact.experiment import config as configs
from didact.experiment import records
from didact.experiment.material import Evaluation
from didact.experiment.reading import SEARCHED
from didact.loop.run import take_lock
from didact.materials.examples import teacher_data
from didact.materials.examples.answers import as_learner
from didact.materials.examples.compression.footprint import ROWS, median_time
from didact.materials.examples.compression.planning import Plan, config_of, goal_of, plan, steps_for
from didact.materials.examples.compression.result import Compression, tried, with_front
from didact.materials.examples.compression.searching import Goal, OnTrial, Search
from didact.materials.examples.compression.trials import TrialStore
from didact.materials.examples.data import count_labels, extend
from didact.options import convert
from didact.parts import saved
from didact.sources import Splits
from didact.types import Cost, Examples

PLANNED = "plan.json"
"""The file with what was decided before the first trial."""
_FREE = ("progress", "trust", "device")
"""Settings that may differ when a search is resumed."""


def compress(
    *,
    within: float | str = 1.0,
    minutes: float | str = 5.0,
    prefer: str = "size",
    students: Sequence[str] = (),
    seeds: Sequence[int] = (0, 1, 2),
    directory: str | Path | None = None,
    resume: bool = False,
    on_trial: OnTrial | None = None,
    **settings: object,
) -> Compression:
    """Find the smallest or fastest student within a distance of a teacher.

    Many students are taught by successive halving on training rows, and judged on validation rows: nets of several
    sizes by `distill` and by `supervised`, and for tables estimators of scikit-learn that are fitted to the teacher's
    answers (`linear`, `tree:LEAVES`, `boosted:TREES`). The test rows are asked once, at the end, of the student that is
    delivered and of the teacher.

    Args:
        within: the largest distance from the teacher, in points: 1 is 0.01 of accuracy, balanced accuracy or R2.
        minutes: how long the search may take.
        prefer: `size`, megabytes of the exported file; or `latency`, its time for 1,000 rows.
        students: the students to try; by default those that fit the data.
        seeds: of the last round's initial weights and order; the first alone is used before. The splits are those of
            the first seed.
        directory: where trials, result, report and student are written; without one, nothing is.
        resume: go on with the search of `directory`, with the same arguments.
        on_trial: called with each trial as it comes.
        settings: `teacher` and `data` as in `didact.run`, and further settings of a run, such as `target`,
            `validation`, `test`, `teacher_data`, `steps` (of a net in the last round) and `made_up`.

    Returns:
        The student with its figures, and all that were tried.

    Raises:
        DidactError: Something does not fit; the message names the field, the value and what would work.
    """
    start, goal = time.perf_counter(), goal_of(within, minutes, prefer, seeds)
    made_up = None if (share := settings.pop("made_up", None)) is None else convert("made_up", share, float)
    if made_up is not None:
        check_range("made_up", made_up, at_least=0, at_most=100)
    steps = None if (count := settings.get("steps")) is None else convert("steps", count, int)
    config, objects = config_of(settings, goal)
    place = None if directory is None else Path(directory)
    made = plan(config, objects, students=students, made_up=made_up)
    asked = {**dataclasses.asdict(goal), "students": list(students), "made_up": made_up, "steps": steps}
    description = {
        "compress": records.plain(asked),
        "config": records.plain(config.as_dict()),
        "objects": sorted(objects.names()),
        **records.environment(),
        "data": made.data.describe(),
    }
    with _opened(place, description, resume):
        found = _searched(made, goal, steps, place, on_trial, start)
        if place is not None:
            _write(found, made, description, place)
    return found


def resume(directory: str | Path, *, trust: Iterable[str] = (), on_trial: OnTrial | None = None) -> Compression:
    """Go on with a search that was stopped; the trials that are stored are not made again.

    Args:
        directory: that of the search.
        trust: what its `config.json` may name, as in `didact.resume`.
        on_trial: as in `compress`; called with the stored trials too.

    Raises:
        CheckpointError: It is no search, or the data are not those that it started with.
        ConfigError: It was given Python objects; call `compress` again with `directory` and `resume=True`.
        TrustError: It names code or a download that is not in `trust`.
    """
    directory, trusted = Path(directory), tuple(trust)
    stored = records.read_config(directory)
    if not is_compression(directory):
        raise CheckpointError(f"{directory} is no search that `didact compress` began.")
    if stored["objects"]:
        raise ConfigError(
            f"The search {directory} was given its {' and '.join(stored['objects'])} from Python; go on from there: "
            f"call didact.compress again with the same arguments, directory={str(directory)!r} and resume=True."
        )
    with trusting.untrusted(directory / "config.json", trusted), records.working_folder(directory, stored) as path:
        settings = configs.make_config({**stored["config"], "trust": trusted}).flat()
        kept = {name: value for name, value in settings.items() if name not in (*SEARCHED, "made_up")}
        return compress(**{**kept, **stored["compress"]}, directory=path, resume=True, on_trial=on_trial)


def is_compression(directory: Path) -> bool:
    """Whether a directory is that of a search, finished or not."""
    try:
        return isinstance(read_object(directory / "config.json").get("compress"), dict)
    except (OSError, ValueError):
        return False


def write_report(directory: Path, out: Path | None = None) -> Path:
    """Write the report of a finished search again; returns its path.

    Raises:
        CheckpointError: It has not ended.
    """
    try:
        found = read_object(directory / "result.json")
    except (OSError, ValueError):
        raise CheckpointError(f"The search {directory} has no result; finish it: didact resume {directory}") from None
    out = out or directory / "report.html"
    return report.write_compression_report(out, found, config=records.read_config(directory))


@contextlib.contextmanager
def _opened(place: Path | None, description: Document, resume: bool) -> Iterator[None]:
    """Lock the directory of a search, and write its `config.json`, or check that of the search to resume.

    Raises:
        RunError: Another process uses the directory, or it holds something already.
        CheckpointError: The stored search is another one.
    """
    if place is None:
        if resume:
            raise ConfigError("resume is set, but directory is None; name that of the search to go on with.")
        yield
        return
    if resume:
        _check_same(place, description)
    elif (place / "config.json").exists():
        raise RunError(f"The directory {place} is taken already; choose another, or go on with: didact resume {place}")
    place.mkdir(parents=True, exist_ok=True)
    with take_lock(place / "lock"):
        if not resume:
            folder = os.path.relpath(Path.cwd(), place)
            records.write_json(place / "config.json", {**description, "folder": folder})
        try:
            yield
        except KeyboardInterrupt:
            words = f"Interrupted. What was tried is kept; go on with: didact resume {place}"
            raise KeyboardInterrupt(words) from None


def _check_same(place: Path, now: Document) -> None:
    stored = records.read_config(place)
    for part in ("compress", "config"):
        before = {name: value for name, value in stored.get(part, {}).items() if name not in _FREE}
        for name in sorted({*before, *now[part]} - set(_FREE)):
            if before.get(name) != now[part].get(name):
                raise CheckpointError(
                    f"{name} is {now[part].get(name)!r}, but the search {place} was begun with {before.get(name)!r}; "
                    "give the same, or another directory."
                )
    if stored["data"].get("fingerprint") != now["data"].get("fingerprint"):
        raise CheckpointError(f"The data are not those that the search {place} began with; restore them.")


def _searched(
    made: Plan, goal: Goal, steps: int | None, place: Path | None, on_trial: OnTrial | None, start: float
) -> Compression:
    # The teacher is asked about all training rows here, which counts as planning.
    bench = made.bench(1)
    planned = _planned(made, goal, steps, place, start)
    theirs = evaluation.metrics(evaluation.predict(as_learner(made.run.teachers[0].model), made.judged))[made.measured]
    search = Search(
        dataclasses.replace(bench, steps=planned["steps"]),
        made.candidates,
        goal,
        theirs - goal.within / 100,
        TrialStore(place),
        spent=planned["seconds"],
        on_trial=on_trial,
    )
    name = search.run()
    if name is None:
        reasons = "; ".join(f"{name}: {trials[0].failed}" for name, trials in search.trials.items())
        raise RunError(f"No student could be taught. {reasons[:1000]}")
    return _result(made, search, name, theirs, time.perf_counter() - start, place)


def _planned(made: Plan, goal: Goal, steps: int | None, place: Path | None, start: float) -> Document:
    """The steps of a net in the last round, and the time that was spent until then, as decided once."""
    if place is not None and (place / PLANNED).exists():
        return read_object(place / PLANNED)
    found = {"steps": steps if steps is not None else steps_for(made, goal)}
    planned = {**found, "seconds": time.perf_counter() - start}
    if place is not None:
        records.write_json(place / PLANNED, planned)
    return planned


def _result(made: Plan, search: Search, name: str, theirs: float, seconds: float, place: Path | None) -> Compression:
    trials, score = search.trials[name], search.score(name)
    best = max(trials, key=lambda trial: trial.metric)
    student = search.store.student(best)
    assert best.footprint is not None and student.spec is not None
    few = made.judged.select(torch.arange(ROWS) % made.judged.size).batch()
    teacher = made.run.teachers[0].model
    tested, asked, notes = _tested(made, student.learner)
    rows = [tried(found, search.shares[found[0].number]) for found in search.trials.values()]
    shown = {made.metric: made.measured}
    mine, other = (_renamed(evaluation.metrics(one), shown) for one in (tested, asked))
    return Compression(
        name=name,
        student=student,
        spec=student.spec,
        seed=best.seed,
        steps=search.bench.steps_of(search.shares[best.number]) if search.candidates[name].is_net else 0,
        within=search.goal.within,
        prefer=search.goal.prefer,
        reached=score.metric >= search.bound,
        out_of_time=search.out_of_time,
        metric=made.metric,
        validation=score.metric,
        teacher_validation=theirs,
        metrics=mine,
        teacher=other,
        test=metric_interval(made.measured, tested),
        difference=metric_interval(made.measured, tested, asked),
        footprint=best.footprint,
        teacher_milliseconds=1e3 * median_time(lambda: teacher.signal(few), least=3),
        rows=with_front(rows),
        notes=notes,
        seconds=seconds,
        directory=place,
    )


def _renamed(found: dict[str, float], shown: dict[str, str]) -> dict[str, float]:
    """The metrics with the one that counts first, by the name that it is shown by."""
    first = {name: found[measured] for name, measured in shown.items()}
    return {**first, **{name: value for name, value in found.items() if name not in shown.values()}}


def _tested(made: Plan, learner: torch.nn.Module) -> tuple[Predictions, Predictions, tuple[str, ...]]:
    """The answers of the delivered student and of the teacher to the test rows, and what a reader must know of them.

    Nothing before has seen a test row.
    """
    run, splits = copy.copy(made.run), made.data.splits
    run.data = dataclasses.replace(run.data, splits=Splits(splits.train, splits.validation, splits.test))
    run.data = extend(run)
    rows: Examples = run.data.splits.test
    test = made.judge(rows)
    mine, theirs = (evaluation.predict(one, test) for one in (learner, as_learner(run.teachers[0].model)))
    count, unseen = teacher_data.describe(teacher_data.find_seen(run, test), mine, theirs)
    found = Evaluation(
        metrics={}, validation={}, teacher=evaluation.metrics(theirs), teacher_seen=count, teacher_unseen=unseen
    )
    notes = [*run.data.notes, *teacher_data.notes(run, found)]
    seen = teacher_data.find_seen(run, made.judged)
    if seen is not None and seen.any():
        notes.append(
            f"The teacher was fitted on {int(seen.sum()):,} of {len(seen):,} validation rows, which flatters it there: "
            "the distance that was asked for is harder to reach."
        )
    return mine, theirs, tuple(notes)


def _write(found: Compression, made: Plan, description: Document, place: Path) -> None:
    """Write the result, the student with its card, and the report."""
    document = records.plain(found.as_dict())
    records.write_json(place / "result.json", document)
    saved.save(found.student, place / saved.STUDENT)
    settings, method = description["config"], found.name.rpartition(", ")[2]
    chosen = {**settings, "student": found.name.rpartition(", ")[0], "method": method, "seed": found.seed}
    given = settings["teacher"] or made.run.config.teacher
    chosen |= {"budget": {"steps": found.steps}, "teacher": None if method == "supervised" else given}
    if method == "refit":
        chosen |= {"budget": {}, "optimizer": dict.fromkeys(settings["optimizer"]), "batches": {"size": None}}
    cost = Cost(labels=0 if method == "refit" else count_labels(made.data.train)).as_dict()
    result = {**document, "parameters": found.footprint.parameters, "cost": cost, "teacher_cost": {}}
    words = [*found.sentences(), *found.notes]
    card.write_card(place / saved.STUDENT / card.FILE, {**description, "config": chosen}, {**result, "notes": words})
    write_report(place)
