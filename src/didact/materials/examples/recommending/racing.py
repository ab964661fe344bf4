"""The race: methods by successive halving, then the finalists on fresh seeds, on training and validation rows alone."""

import copy
import dataclasses
import math
import statistics
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from didact import catalogue, evaluation
from didact.errors import DidactError, PausedError
from didact.experiment import running
from didact.experiment.material import Objects
from didact.experiment.preparing import accepts, prepare
from didact.materials.examples.compression.planning import Plan
from didact.materials.examples.compression.searching import OnTrial
from didact.materials.examples.compression.trials import Trial, TrialStore
from didact.parts.student import Student
from didact.teachers import FrozenTeacher

ALWAYS = ("distill", "supervised")
"""The methods that every other one is compared with; they take part in all rounds."""
SHARES = (1 / 9, 1 / 3, 1.0)
"""Of the steps, in the three rounds: all methods; a third of them with further learning rates; the finalists."""
FACTORS = (1 / 3, 3.0)
"""The further learning rates, times the default."""
SECOND, FINALISTS = 3, 2
"""The fewest methods of the second round, and those of the last, besides `ALWAYS`."""
LEAST_SEEDS = 3
"""Seeds that the finalists are given though the time is up."""
EARLY, LATE = 0.35, 0.6
"""The shares of the time after which no further method, and no further learning rate, is tried."""
SLOWEST = 0.08
"""The share of the time that a method may take in the first round."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A method that takes part, with a learning rate."""

    method: str
    rate: float
    teacher: Any
    """What is given to its runs as teacher; None for a method without one."""

    @property
    def name(self) -> str:
        """What it is called."""
        return f"{self.method}, lr={self.rate:g}"


@dataclass(frozen=True, kw_only=True)
class Track:
    """What all runs share: no test row is among it."""

    made: Plan
    student: str
    steps: int
    """Those of the last round."""

    def teach(self, entry: Entry, share: float, seed: int, seconds: float | None) -> Student:
        """Teach the student by a method, with a share of the steps, or as many as there is time for."""
        steps = self.steps_of(share)
        chosen = {"method": entry.method, "student": self.student, "lr": entry.rate, "seed": seed}
        budget = {"steps": steps} if seconds is None else {"steps": steps, "seconds": seconds}
        config = self.made.config.replace(**chosen, budget=budget, evaluate_every=steps)
        return running.teach(config, Objects(teacher=_own(entry.teacher)), self.made.run.data)

    def steps_of(self, share: float) -> int:
        """The steps of a share of the full budget."""
        return max(1, math.ceil(share * self.steps))

    def judge(self, student: Student) -> float:
        """The metric on the validation rows."""
        found = evaluation.metrics(evaluation.predict(student.learner, self.made.judged))
        return found.get(self.made.measured, math.nan)


def find_entries(made: Plan, student: str) -> tuple[dict[str, Entry], dict[str, str]]:
    """The methods of the catalogue that fit the data, the teacher and the student, at their default learning rates.

    Args:
        made: the plan, with the teacher.
        student: its spec.

    Returns:
        The entries by method, and why the other methods were left out, as sentences.
    """
    found, left_out = dict[str, Entry](), dict[str, str]()
    for info in catalogue.listing():
        if info.material != "examples":
            continue
        taught = accepts(info, "teacher") or accepts(info, "teachers")
        for teacher in _teachers(made) if taught else (None,):
            config = made.config.replace(method=info.name, student=student, steps=1)
            try:
                run = prepare(config, Objects(teacher=_own(teacher)), data=made.run.data, teach=False)
            except DidactError as error:
                left_out[info.name] = str(error)
                continue
            rate = run.config.optimizer.lr
            assert rate is not None
            found[info.name] = Entry(info.name, rate, teacher)
            left_out.pop(info.name, None)
            break
    return found, left_out


def _teachers(made: Plan) -> tuple[Any, ...]:
    """The teacher in the ways that it can be given: as a net, whose features some methods read; or its answers."""
    teacher = made.run.teachers[0].model
    net = isinstance(teacher, FrozenTeacher) and made.data.examples.task == "classification"
    return (teacher, made.teacher) if net else (made.teacher,)


def _own(teacher: Any) -> Any:
    """A run's own copy of a net, since methods tap the features of a teacher for good."""
    return copy.deepcopy(teacher) if isinstance(teacher, FrozenTeacher) else teacher


class Race:
    """A race of methods, which goes on where a stored one ended.

    Args:
        track: what all runs share.
        entries: by method.
        seeds: the seed of the first two rounds, and the fresh ones of the last.
        minutes: how long the race may take.
        store: keeps the trials.
        spent: the seconds that were spent before.
        on_trial: called with each trial as it comes, stored ones too.
    """

    def __init__(
        self,
        track: Track,
        entries: Mapping[str, Entry],
        seeds: tuple[int, tuple[int, ...]],
        minutes: float,
        store: TrialStore,
        *,
        spent: float = 0.0,
        on_trial: OnTrial | None = None,
    ) -> None:
        self.track, self.entries, self.store, self.minutes, self.spent = track, dict(entries), store, minutes, spent
        self.tuning, self.fresh = seeds
        self._on_trial = on_trial
        self.trials = dict[str, list[Trial]]()
        """By method, all that it was given, in their order."""
        self.chosen = dict(entries)
        """By method, its entry with the learning rate that did best in the latest round."""
        self.untried = list[str]()
        """Methods for which there was no time."""
        self.slow = dict[str, str]()
        """Why methods were left out though they were tried, as sentences."""
        self.out_of_time = False

    def run(self) -> dict[str, list[Trial]]:
        """Race; the trials of the finalists on the fresh seeds, by method, of those that finished them all."""
        first = dict[str, float]()
        for name in sorted(self.entries, key=lambda name: name not in ALWAYS):
            if name not in ALWAYS and self._late(EARLY):
                self.untried.append(name)
            else:
                first[name] = self._trial(self.entries[name], 0, self.tuning).metric
        second = dict[str, float]()
        for name in self._best(first, max(SECOND, math.ceil(len(first) / 3))):
            second[name] = self._tuned(name)
        return self._finals(self._best(second, FINALISTS))

    def _late(self, share: float) -> bool:
        """Whether a share of the time is up."""
        late = self.spent > share * 60 * self.minutes
        self.out_of_time |= late
        return late

    def _best(self, metrics: Mapping[str, float], places: int) -> list[str]:
        """`ALWAYS`, and the methods with the highest metrics besides."""
        others = [name for name, value in metrics.items() if math.isfinite(value) and self._can_end(name)]
        others.sort(key=lambda name: -metrics[name])
        return [*ALWAYS, *others[:places]]

    def _can_end(self, method: str) -> bool:
        """Whether there is time for a method's last round, as its last trial tells; not of `ALWAYS`, which have it."""
        last = self.trials[method][-1]
        needed = LEAST_SEEDS * last.seconds * SHARES[-1] / SHARES[last.number]
        if method not in ALWAYS and self.spent + needed > 60 * self.minutes:
            self.slow[method] = f"Its last round would take {needed:.0f} s, for which there is no time."
        return method not in ALWAYS and method not in self.slow

    def _tuned(self, method: str) -> float:
        """The best metric of a method over its learning rates, of which the best is kept."""
        entry, best = self.entries[method], -math.inf
        for factor in (1.0, *FACTORS):
            if factor != 1.0 and self._late(LATE):
                break
            tried = dataclasses.replace(entry, rate=entry.rate * factor)
            metric = self._trial(tried, 1, self.tuning).metric
            if metric > best:
                best, self.chosen[method] = metric, tried
        return best

    def _finals(self, methods: Iterable[str]) -> dict[str, list[Trial]]:
        """The finalists on the fresh seeds, paired; fewer seeds where the time is up."""
        found = {name: list[Trial]() for name in methods}
        for number, seed in enumerate(self.fresh):
            each = sum(trials[-1].seconds for trials in found.values()) if number else 0.0
            if number >= LEAST_SEEDS and self.spent + each > 60 * self.minutes:
                self.out_of_time = True
                break
            for name, trials in found.items():
                trials.append(self._trial(self.chosen[name], 2, seed))
        return {name: trials for name, trials in found.items() if not any(trial.failed for trial in trials)}

    def _trial(self, entry: Entry, number: int, seed: int) -> Trial:
        trial = self.store.read(entry.name, number, seed) or self._made(entry, number, seed)
        self.spent += trial.seconds
        self.trials.setdefault(entry.method, []).append(trial)
        if self._on_trial is not None:
            self._on_trial(trial)
        return trial

    def _made(self, entry: Entry, number: int, seed: int) -> Trial:
        start, student = time.perf_counter(), None
        limit = None if number or entry.method in ALWAYS else SLOWEST * 60 * self.minutes
        try:
            student = self.track.teach(entry, SHARES[number], seed, limit)
            metric = self.track.judge(student)
            failed = "" if math.isfinite(metric) else "The metric is not finite."
            if limit is not None and time.perf_counter() - start > limit:
                metric, failed = math.nan, f"A ninth of its steps took more than {limit:.0f} s."
        except PausedError:
            raise
        except DidactError as error:
            metric, failed = math.nan, str(error)
        seconds = time.perf_counter() - start
        made = {"name": entry.name, "number": number, "seed": seed, "metric": metric, "seconds": seconds}
        trial = Trial(**made, footprint=None, failed=failed)
        self.store.write(trial, student if number == len(SHARES) - 1 else None)
        return trial


def units(methods: int, seeds: int) -> float:
    """What a race costs, in runs of the last round."""
    second = min(methods, len(ALWAYS) + max(SECOND, math.ceil(methods / 3)))
    last = min(methods, len(ALWAYS) + FINALISTS) * seeds
    return methods * SHARES[0] + second * (1 + len(FACTORS)) * SHARES[1] + last * SHARES[2]


def mean_metric(trials: Iterable[Trial]) -> float:
    """The mean of the metrics of trials."""
    return statistics.fmean(trial.metric for trial in trials)
