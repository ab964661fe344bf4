"""`didact compress`: the smallest or fastest student within a distance of its teacher."""

import dataclasses
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from didact import evaluation
from didact.documents import Document, read_object
from didact.errors import CheckpointError, RunError, check_range
from didact.evaluation import card, report
from didact.evaluation.paired import metric_interval
from didact.experiment import records
from didact.materials.examples.answers import as_learner
from didact.materials.examples.compression.footprint import ROWS, median_time
from didact.materials.examples.compression.opening import is_search, opened, taken_up
from didact.materials.examples.compression.planning import Plan, config_of, goal_of, plan, steps_for
from didact.materials.examples.compression.result import Compression, tried, with_front
from didact.materials.examples.compression.searching import Goal, OnTrial, Search
from didact.materials.examples.compression.trials import TrialStore
from didact.materials.examples.data import count_labels
from didact.options import convert
from didact.parts import saved
from didact.types import Cost

PLANNED = "plan.json"
"""The file with what was decided before the first trial."""


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
    config, objects = config_of(settings, goal.seeds[0])
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
    with opened(place, description, resume):
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
    with taken_up(Path(directory), "compress", tuple(trust)) as (path, given):
        return compress(**given, directory=path, resume=True, on_trial=on_trial)


def is_compression(directory: Path) -> bool:
    """Whether a directory is that of a search, finished or not."""
    return is_search(directory, "compress")


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
    _, tested, asked, notes = made.tested(student.learner)
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
