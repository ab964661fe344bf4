"""The search: rounds of trials by successive halving, on training and validation rows alone."""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from didact import evaluation, hashing
from didact.errors import DataError, PausedError, RunError
from didact.experiment import running
from didact.experiment.config import RunConfig
from didact.experiment.material import Objects
from didact.learners import export
from didact.materials.examples.compression import halving, refitting
from didact.materials.examples.compression.candidates import Candidate
from didact.materials.examples.compression.footprint import Footprint, measure
from didact.materials.examples.compression.halving import Score
from didact.materials.examples.compression.trials import Trial, TrialStore
from didact.materials.examples.data import ExampleData
from didact.parts.part import ForExamples
from didact.parts.student import Student
from didact.types import Examples

LEAST_ROWS = 2000
"""The fewest rows that an estimator is fitted to in an early round."""
LEAST_SLACK = 0.01
"""The least that a student is expected to gain in a further round."""
OnTrial = Callable[[Trial], None]
Preference = Literal["size", "latency"]


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What is sought, and for how long."""

    within: float
    """The largest distance from the teacher, in points of the metric."""
    minutes: float
    prefer: Preference
    seeds: tuple[int, ...]
    """All of them in the last round, the first alone before."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What all trials share: no test row is among it."""

    config: RunConfig
    """Of `distill`, without a teacher."""
    data: ExampleData
    """Training rows, those made up among them, and validation rows, which also stand where test rows would be."""
    judged: Examples
    """The validation rows with the labels that they are judged by."""
    teacher: object
    """Gives the teacher's answers to training rows, asked once."""
    answers: np.ndarray
    """These as probabilities or numbers, float64 [N, C] or [N, 1]."""
    metric: str
    """Of `evaluation.metrics`, more is better."""
    steps: int
    """Those of a net in the last round."""

    def teach(self, candidate: Candidate, share: float, seed: int) -> Student:
        """Teach a candidate with a share of the full budget: of the steps, or of the rows."""
        if not candidate.is_net:
            return self._refit(candidate, share, seed)
        return running.teach(self.run_config(candidate, share, seed), self.objects(candidate), self.data)

    def objects(self, candidate: Candidate) -> Objects:
        """The Python objects of a net's run."""
        return Objects(teacher=self.teacher if candidate.method == "distill" else None)

    def run_config(self, candidate: Candidate, share: float, seed: int) -> RunConfig:
        """The configuration of a net's run."""
        steps = self.steps_of(share)
        chosen = {"method": candidate.method, "student": candidate.student, "seed": seed}
        return self.config.replace(**chosen, steps=steps, evaluate_every=steps)

    def steps_of(self, share: float) -> int:
        """The steps of a share of the full budget."""
        return max(1, math.ceil(share * self.steps))

    def _refit(self, candidate: Candidate, share: float, seed: int) -> Student:
        train = self.data.train
        size = min(train.size, max(LEAST_ROWS, math.ceil(share * train.size)))
        generator = torch.Generator().manual_seed(hashing.stream(seed, "rows"))
        order = torch.randperm(train.size, generator=generator)[:size].sort().values
        purpose = ForExamples(examples=self.data.examples, seed=hashing.stream(seed, "student"))
        x = train.tensors["x"][order].flatten(1).numpy()
        learner, spec = refitting.fit(candidate.student, x, self.answers[order.numpy()], purpose)
        like = export.blank_examples(export.describe(self.data.examples))
        return Student(learner=learner.eval(), like=like, spec=spec)

    def judge(self, student: Student) -> float:
        """The metric on the validation rows."""
        found = evaluation.metrics(evaluation.predict(student.learner, self.judged))
        return found.get(self.metric, math.nan)


class Search:
    """A search over candidates, which goes on where a stored one ended.

    Args:
        bench: what all trials share.
        candidates: the students.
        goal: what is sought.
        bound: the least metric that is within the distance of the teacher.
        store: keeps the trials.
        spent: the seconds that were spent before.
        on_trial: called with each trial as it comes, stored ones too.
    """

    def __init__(
        self,
        bench: Bench,
        candidates: Sequence[Candidate],
        goal: Goal,
        bound: float,
        store: TrialStore,
        *,
        spent: float = 0.0,
        on_trial: OnTrial | None = None,
    ) -> None:
        self.bench, self.goal, self.bound, self.store = bench, goal, bound, store
        self.candidates = {one.name: one for one in candidates}
        self.shares = halving.shares(len(candidates))
        self.spent, self._on_trial = spent, on_trial
        self.trials = dict[str, list[Trial]]()
        """By candidate, those of its latest round."""
        self.out_of_time = False
        self._footprints = dict[str, Footprint]()

    @property
    def last(self) -> int:
        """The number of the last round."""
        return len(self.shares) - 1

    def run(self) -> str | None:
        """Search until a student is found, all have failed, or the time is up.

        Returns:
            The name of the best candidate: the cheapest within the bound, or the nearest to it; None if all failed.
        """
        alive = list(self.candidates)
        for number in range(len(self.shares)):
            for name in alive:
                self._try(name, number)
            slack = max(self.goal.within / 100, LEAST_SLACK) * (self.last - number - 1)
            scores = {name: self.score(name) for name in alive if name in self.trials}
            alive = halving.survivors(scores, self.bound, slack, halving.keep(len(self.candidates), number + 1))
        self._promote()
        return self.best()

    def _promote(self) -> None:
        """While none of the last round is within the bound, give others their last round, the likeliest first."""
        while not self.out_of_time and not self._found():
            behind = {name: self.score(name) for name in self.trials if not self._is_final(name)}
            waiting = halving.ranked(behind, self.bound)
            if not waiting:
                return
            self._try(waiting[0], self.last)

    def best(self) -> str | None:
        """The best of the last round; of all if the time was up before any of that was within the bound."""
        final = {name: self.score(name) for name in self.trials if self._is_final(name)}
        every = {name: self.score(name) for name in self.trials}
        pool = final if self._found() or (final and not self.out_of_time) else every
        return next(iter(halving.ranked(pool, self.bound)), None)

    def score(self, name: str) -> Score:
        """The means of a candidate's latest round."""
        trials = self.trials[name]
        taken = [trial.footprint for trial in trials if trial.footprint is not None]
        if len(taken) < len(trials):
            return Score(math.nan, math.inf)
        costs = [one.megabytes if self.goal.prefer == "size" else one.milliseconds for one in taken]
        return Score(statistics.fmean(trial.metric for trial in trials), statistics.fmean(costs))

    def _is_final(self, name: str) -> bool:
        return self.trials[name][0].number == self.last

    def _found(self) -> bool:
        return any(self._is_final(name) and self.score(name).metric >= self.bound for name in self.trials)

    def _try(self, name: str, number: int) -> None:
        """Give a candidate a round, unless the time is up."""
        seeds = self.goal.seeds if number == self.last else self.goal.seeds[:1]
        found = list[Trial]()
        for seed in seeds:
            trial = self.store.read(name, number, seed)
            if trial is None:
                if self._too_late(name, number):
                    self.out_of_time = True
                    return
                trial = self._trial(name, number, seed)
            found.append(trial)
            self.spent += trial.seconds
            if self._on_trial is not None:
                self._on_trial(trial)
        self.trials[name] = found

    def _too_late(self, name: str, number: int) -> bool:
        """Whether another trial would end after the time that there is, by how long the candidate took before."""
        before = self.trials.get(name, ())
        ratio = self.shares[number] / self.shares[before[0].number] if before else 0.0
        expected = max((trial.seconds for trial in before), default=0.0) * ratio
        return bool(self.trials) and self.spent + expected > 60 * self.goal.minutes

    def _trial(self, name: str, number: int, seed: int) -> Trial:
        start, candidate = time.perf_counter(), self.candidates[name]
        try:
            student = self.bench.teach(candidate, self.shares[number], seed)
            metric, taken = self.bench.judge(student), self._measured(candidate, student)
            failed = "" if math.isfinite(metric) else "The metric is not finite."
        except PausedError:
            raise
        except (RunError, DataError) as error:
            student, metric, taken, failed = None, math.nan, None, str(error)
        seconds = time.perf_counter() - start
        trial = Trial(
            name=name, number=number, seed=seed, metric=metric, footprint=taken, seconds=seconds, failed=failed
        )
        self.store.write(trial, student)
        return trial

    def _measured(self, candidate: Candidate, student: Student) -> Footprint:
        """What a student takes; nets of one spec take the same."""
        if not candidate.is_net:
            return measure(student, self.bench.judged)
        if candidate.student not in self._footprints:
            stored = [t.footprint for n, found in self.trials.items() for t in found if self._same_net(n, candidate)]
            known = next((one for one in stored if one is not None), None)
            self._footprints[candidate.student] = known or measure(student, self.bench.judged)
        return self._footprints[candidate.student]

    def _same_net(self, name: str, candidate: Candidate) -> bool:
        return self.candidates[name].student == candidate.student and self.candidates[name].is_net
