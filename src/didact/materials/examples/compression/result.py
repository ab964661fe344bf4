"""What a search found: one student, its honest figures, and all that were tried."""

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from didact.documents import Document
from didact.evaluation import wording
from didact.evaluation.paired import Interval
from didact.evaluation.pareto import pareto_set
from didact.materials.examples.compression.footprint import Footprint
from didact.materials.examples.compression.searching import Preference
from didact.materials.examples.compression.trials import Trial
from didact.parts.student import Student


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A candidate as it was taught last."""

    name: str
    metric: float
    """On the validation rows, the mean over the seeds; NaN where teaching failed."""
    seeds: tuple[int, ...]
    share: float
    """Of the full budget."""
    parameters: int
    megabytes: float
    milliseconds: float
    """For 1,000 rows at once."""
    runtime: str
    """What was timed."""
    front: bool = False
    """Whether no other is at least as good, as small and as fast, and better in one of these."""
    failed: str = ""


def tried(trials: Sequence[Trial], share: float) -> Tried:
    """The row of a candidate from the trials of its latest round."""
    taken = [trial.footprint for trial in trials if trial.footprint is not None]
    failed = next((trial.failed for trial in trials if trial.failed), "")
    known = bool(taken) and not failed
    return Tried(
        name=trials[0].name,
        metric=statistics.fmean(trial.metric for trial in trials) if known else math.nan,
        seeds=tuple(trial.seed for trial in trials),
        share=share,
        parameters=taken[0].parameters if known else 0,
        megabytes=statistics.fmean(one.megabytes for one in taken) if known else math.nan,
        milliseconds=statistics.fmean(one.milliseconds for one in taken) if known else math.nan,
        runtime=taken[0].runtime if known else "",
        failed=failed,
    )


def with_front(rows: Sequence[Tried]) -> tuple[Tried, ...]:
    """The same rows, the best first, with those of the Pareto front marked."""
    sound = sorted((row for row in rows if not row.failed), key=lambda row: (-row.metric, row.megabytes))
    front = set(pareto_set([(-row.metric, row.megabytes, row.milliseconds) for row in sound]))
    marked = [dataclasses.replace(row, front=place in front) for place, row in enumerate(sound)]
    return (*marked, *(row for row in rows if row.failed))


@dataclass(frozen=True, kw_only=True)
class Compression:
    """The result of a search."""

    name: str
    """The candidate that was chosen."""
    student: Student = field(repr=False)
    """Its student, of the seed that did best on the validation rows."""
    spec: str
    """The spec of its net or trees."""
    seed: int
    """The seed that it was taught with."""
    steps: int
    """The steps that trained it; 0 for an estimator."""
    within: float
    """The distance that was asked for, in points."""
    prefer: Preference
    """What was preferred within it."""
    reached: bool
    """Whether it is within that distance on the validation rows."""
    out_of_time: bool
    """Whether the time was up before the search had ended."""
    metric: str
    validation: float
    """Its metric on the validation rows, the mean over its seeds."""
    teacher_validation: float
    """The teacher's."""
    metrics: Mapping[str, float]
    """Its metrics on the test rows, which nothing in the search has seen."""
    teacher: Mapping[str, float]
    """The teacher's."""
    test: Interval
    """Its metric on the test rows, with the 95% bootstrap interval over these."""
    difference: Interval
    """How far that is above the teacher's, paired by row."""
    footprint: Footprint
    teacher_milliseconds: float
    """What the teacher takes for 1,000 rows, as it was given."""
    rows: tuple[Tried, ...]
    """All that were tried."""
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    """How long the search took."""
    directory: Path | None = None

    @property
    def speedup(self) -> float:
        """How many times as fast as the teacher it is."""
        return self.teacher_milliseconds / self.footprint.milliseconds

    def sentences(self) -> tuple[str, str]:
        """What was found, and what the test rows say of it."""
        unit, figure = wording.unit_of(self.metric), lambda value: wording.figure(self.metric, value)
        far = f"within {self.within:g} {'point' if self.within == 1 else 'points'} of the teacher"
        both = f"{figure(self.validation)}{unit} against {figure(self.teacher_validation)}{unit} on validation rows"
        first = f"{self.name} is the {'smallest' if self.prefer == 'size' else 'fastest'} student {far} that was found"
        if not self.reached:
            first = f"No student is {far}. The nearest is {self.name}"
        low, high = (self._points(end) for end in (self.difference.low, self.difference.high))
        tested = (
            f"On test rows, which the search has not seen, its {wording.name_of(self.metric)} is "
            f"{figure(self.test.value)}{unit} ({figure(self.test.low)} to {figure(self.test.high)}) and the teacher's "
            f"{figure(self.teacher[self.metric])}{unit}: a difference of {self._points(self.difference.value)} points "
            f"({low} to {high})."
        )
        if self.reached and self.difference.value < -self.within / 100:
            tested += " That is more than was asked for."
        late = " The time was up before the search had ended." if self.out_of_time else ""
        return f"{first}: {both}.", tested + late

    @staticmethod
    def _points(value: float) -> str:
        return wording.number(100 * value, 1, sign=True)

    def as_dict(self) -> Document:
        """The contents of `result.json`."""
        left_out = ("student", "directory", "rows")
        own = {one.name: getattr(self, one.name) for one in dataclasses.fields(self) if one.name not in left_out}
        for name in ("test", "difference", "footprint"):
            own[name] = dataclasses.asdict(own[name])
        rows = [{k: None if v != v else v for k, v in dataclasses.asdict(row).items()} for row in self.rows]
        return {**own, "speedup": self.speedup, "sentences": list(self.sentences()), "rows": rows}
