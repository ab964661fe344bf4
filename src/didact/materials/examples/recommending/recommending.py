"""`didact recommend`: which method teaches a student best on one's own data."""

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from didact import evaluation
from didact.documents import Document, read_object
from didact.errors import ConfigError, DataError, RunError, check_range
from didact.experiment import records
from didact.materials.examples.compression.opening import is_search, opened, taken_up
from didact.materials.examples.compression.planning import Plan, config_of, plan, seconds_a_step
from didact.materials.examples.compression.searching import OnTrial
from didact.materials.examples.compression.trials import Trial, TrialStore
from didact.materials.examples.recommending.racing import ALWAYS, SHARES, Race, Track, find_entries, mean_metric, units
from didact.materials.examples.recommending.result import Finalist, Recommendation, difference, recommended
from didact.options import convert
from didact.parts import saved

PLANNED, FOUND = "plan.json", "recommend.json"
"""The files with what was decided before the first run, and with what was found."""
FOR_RUNS = 0.7
"""The share of the time that is planned for runs."""
LEAST_STEPS, MOST_STEPS = 50, 3000
"""Of a run of the last round, where the time that there is decides."""
_SLOWER = 2.0
"""How much longer a step of a method takes than one of `distill`, about."""


def recommend(
    *,
    student: str = "auto",
    minutes: float | str = 10.0,
    smallest_effect: float | str = 1.0,
    seeds: Sequence[int] = (1, 2, 3, 4, 5),
    directory: str | Path | None = None,
    resume: bool = False,
    on_trial: OnTrial | None = None,
    on_plan: Callable[[str], None] | None = None,
    **settings: object,
) -> Recommendation:
    """Find the method that teaches a student best on one's own data.

    All methods of the catalogue that fit data, teacher and student race: a ninth of the steps for each, a third for
    the best third at three learning rates, and everything for the best two, for `distill` and for `supervised`, on
    fresh seeds, the same for all. Validation rows decide until then. The test rows are asked once, at the end, of the
    students of the winner, of `distill` and of `supervised`, and of the teacher.

    Args:
        student: the spec of the student.
        minutes: how long the race may take.
        smallest_effect: the smallest difference of interest, in points: 1 is 0.01 of accuracy, balanced accuracy or R2.
        seeds: of the last round; the rounds before have the seed 0, which must not be among them.
        directory: where runs and result are written; without one, nothing is.
        resume: go on with the race of `directory`, with the same arguments.
        on_trial: called with each run as it comes.
        on_plan: called with a sentence on what will be done, before the first run.
        settings: `teacher` and `data` as in `didact.run`, and further settings of a run, such as `target`,
            `validation`, `test`, `teacher_data` and `steps` (of a run of the last round).

    Returns:
        The recommended method, with all figures.

    Raises:
        DidactError: Something does not fit; the message names the field, the value and what would work.
    """
    start = time.perf_counter()
    asked = _checked(student, minutes, smallest_effect, seeds, settings)
    config, objects = config_of(settings, 0, "recommend")
    place = None if directory is None else Path(directory)
    made = plan(config, objects, students=(student,), made_up=0.0)
    if not made.data.has_labels:
        raise DataError(
            f"No row of {made.data.examples.name!r} has an answer, so that plain training cannot race; give labels."
        )
    description = {
        "recommend": records.plain(asked),
        "config": records.plain(config.as_dict()),
        "objects": sorted(objects.names()),
        **records.environment(),
        "data": made.data.describe(),
    }
    with opened(place, description, resume):
        entries, left_out = find_entries(made, student)
        missing = [name for name in ALWAYS if name not in entries]
        if missing:
            raise ConfigError(left_out[missing[0]])
        planned = _planned(made, student, len(entries), asked, place, start)
        if on_plan is not None:
            on_plan(_plan_words(planned, len(entries), asked))
        track = Track(made=made, student=student, steps=planned["steps"])
        seeds_of = (config.seed, tuple(asked["seeds"]))
        store = TrialStore(place)
        race = Race(track, entries, seeds_of, asked["minutes"], store, spent=planned["seconds"], on_trial=on_trial)
        found = _result(track, race, race.run(), asked, left_out, time.perf_counter() - start, place)
        if place is not None:
            records.write_json(place / FOUND, records.plain(found.as_dict()))
            saved.save(found.student, place / saved.STUDENT)
    return found


def resume(
    directory: str | Path,
    *,
    trust: Iterable[str] = (),
    on_trial: OnTrial | None = None,
    on_plan: Callable[[str], None] | None = None,
) -> Recommendation:
    """Go on with a race that was stopped; the runs that are stored are not made again.

    Args:
        directory: that of the race.
        trust: what its `config.json` may name, as in `didact.resume`.
        on_trial: as in `recommend`; called with the stored runs too.
        on_plan: as in `recommend`.

    Raises:
        CheckpointError: It is no search of `recommend`, or the data are not those that it started with.
        ConfigError: It was given Python objects; call `recommend` again with `directory` and `resume=True`.
        TrustError: It names code or a download that is not in `trust`.
    """
    with taken_up(Path(directory), "recommend", tuple(trust)) as (path, given):
        return recommend(**given, directory=path, resume=True, on_trial=on_trial, on_plan=on_plan)


def is_recommendation(directory: Path) -> bool:
    """Whether a directory is that of a race, finished or not."""
    return is_search(directory, "recommend")


def _checked(student: object, minutes: object, smallest: object, seeds: Sequence[int], settings: Document) -> Document:
    """The arguments of a race.

    Raises:
        ConfigError: One of them cannot be.
    """
    limit, least = convert("minutes", minutes, float), convert("smallest_effect", smallest, float)
    check_range("minutes", limit, above=0, below=float("inf"))
    check_range("smallest_effect", least, above=0, below=100)
    if settings.get("made_up"):
        raise ConfigError(
            f"made_up is {settings['made_up']}, but methods that learn from labels alone cannot race on rows without "
            "one; leave it out."
        )
    if not isinstance(student, str):
        raise ConfigError(f"student is {type(student).__name__}, but must be a spec such as mlp:32, to be made anew.")
    if len(seeds) < 2 or len(set(seeds)) < len(seeds) or 0 in seeds:
        raise ConfigError(f"seeds is {list(seeds)}, but must hold at least two seeds, each once, and not 0.")
    steps = None if (count := settings.get("steps")) is None else convert("steps", count, int)
    return {"student": student, "minutes": limit, "smallest_effect": least, "seeds": list(seeds), "steps": steps}


def _planned(made: Plan, student: str, count: int, asked: Document, place: Path | None, start: float) -> Document:
    """The steps of a run of the last round, and the time that was spent until then, as decided once."""
    if place is not None and (place / PLANNED).exists():
        return read_object(place / PLANNED)
    nets = [one for one in made.candidates if one.method in ALWAYS]
    bench = made.bench(1)
    a_step = _SLOWER * sum(seconds_a_step(bench, one) for one in nets) / len(nets)
    runs, left = units(count, len(asked["seeds"])), 60 * asked["minutes"] - (time.perf_counter() - start)
    fits = int(FOR_RUNS * left / (a_step * runs))
    steps = asked["steps"] or min(max(fits, LEAST_STEPS), MOST_STEPS)
    seconds = time.perf_counter() - start
    planned = {"steps": steps, "expected": seconds + a_step * runs * steps, "seconds": seconds}
    if place is not None:
        records.write_json(place / PLANNED, planned)
    return planned


def _plan_words(planned: Document, count: int, asked: Document) -> str:
    return (
        f"{count} methods fit; about {planned['expected'] / 60:.1f} minutes, of {asked['minutes']:g}: up to "
        f"{planned['steps']:,} steps a run, {len(asked['seeds'])} seeds in the last round."
    )


def _result(
    track: Track,
    race: Race,
    finals: dict[str, list[Trial]],
    asked: Document,
    left_out: dict[str, str],
    seconds: float,
    place: Path | None,
) -> Recommendation:
    made, store = track.made, race.store
    if failed := [name for name in ALWAYS if name not in finals]:
        reason = next((trial.failed for trial in race.trials[failed[0]] if trial.failed), "")
        raise RunError(f"The method {failed[0]} failed, which all others are compared with. {reason}")
    order = sorted(finals, key=lambda name: -mean_metric(finals[name]))
    winner, least = order[0], asked["smallest_effect"] / 100
    names = dict.fromkeys((winner, *ALWAYS))
    test, _, theirs, notes = made.tested(store.student(finals[winner][0]).learner)
    answers = {
        name: [evaluation.predict(store.student(trial).learner, test) for trial in finals[name]] for name in names
    }
    pairs = [(winner, other) for other in ALWAYS if winner not in ALWAYS]
    differences = tuple(difference(*pair, answers, made.measured, least) for pair in (*pairs, ALWAYS))
    tested = {name: [evaluation.metrics(one)[made.measured] for one in found] for name, found in answers.items()}
    chosen = recommended(winner, differences)
    best = store.student(max(finals[chosen], key=lambda one: one.metric))
    assert best.spec is not None
    return Recommendation(
        method=chosen,
        rate=race.chosen[chosen].rate,
        winner=winner,
        student=best,
        spec=best.spec,
        metric=made.metric,
        smallest_effect=asked["smallest_effect"],
        seeds=tuple(trial.seed for trial in finals[winner]),
        steps=track.steps,
        finalists=tuple(
            Finalist(
                method=name,
                rate=race.chosen[name].rate,
                validation=mean_metric(finals[name]),
                test=sum(tested[name]) / len(tested[name]) if name in tested else None,
            )
            for name in order
        ),
        differences=differences,
        teacher=evaluation.metrics(theirs)[made.measured],
        tried=tuple(_tried(trial) for trials in race.trials.values() for trial in trials),
        left_out={
            **left_out,
            **race.slow,
            **dict.fromkeys(race.untried, "The time was up before it was tried."),
        },
        out_of_time=race.out_of_time,
        notes=notes,
        seconds=seconds,
        directory=place,
    )


def _tried(trial: Trial) -> Document:
    method, _, rate = trial.name.partition(", lr=")
    found = {"method": method, "lr": float(rate), "share": SHARES[trial.number], "seed": trial.seed}
    metric = None if trial.failed else trial.metric
    return {**found, "validation": metric, "seconds": trial.seconds, "failed": trial.failed}
