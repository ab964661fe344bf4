"""What a race found: the winner beside plain distillation and plain training, with verdicts on test rows."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from didact import evaluation
from didact.documents import Document
from didact.evaluation import Predictions, wording
from didact.evaluation.intervals import Estimate
from didact.evaluation.paired import metric_interval
from didact.evaluation.verdicts import Verdict, decide, effect
from didact.parts.student import Student


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How far a method is above another on the test rows."""

    method: str
    other: str
    mean: float
    """Over the seeds, in the metric's unit."""
    low: float
    """The lower end of the 95% interval, for other seeds and other test rows."""
    high: float
    verdict: Verdict


def difference(
    method: str,
    other: str,
    answers: Mapping[str, Sequence[Predictions]],
    metric: str,
    smallest_effect: float,
) -> Difference:
    """Compare two methods by their students' answers to the test rows.

    The interval has two parts that are added as independent: that of the mean over seeds, and, since all seeds share
    the test rows, the mean of the bootstrap intervals over these.

    Args:
        method: a name in `answers`.
        other: another one.
        answers: by method, one for each seed, at least two.
        metric: of `evaluation.metrics`, more is better.
        smallest_effect: the smallest effect of interest, in its unit.
    """
    mine, theirs = ([evaluation.metrics(one)[metric] for one in answers[name]] for name in (method, other))
    found = effect(mine, theirs, higher_is_better=True, least=smallest_effect).estimate
    pairs = zip(answers[method], answers[other], strict=True)
    rows = [metric_interval(metric, *pair) for pair in pairs]
    half = math.hypot(found.half or 0.0, sum(one.high - one.low for one in rows) / (2 * len(rows)))
    low, high = found.mean - half, found.mean + half
    whole = Estimate(found.values, found.mean, found.sd, low, high)
    verdict = decide(whole, smallest_effect=smallest_effect, higher_is_better=True)
    return Difference(method=method, other=other, mean=found.mean, low=low, high=high, verdict=verdict)


@dataclass(frozen=True, kw_only=True)
class Finalist:
    """A method of the last round."""

    method: str
    rate: float
    """The learning rate that was chosen."""
    validation: float
    """The mean over the fresh seeds on validation rows."""
    test: float | None
    """That on test rows; None for a method about which they were not asked."""


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """The result of a race."""

    method: str
    """What is recommended: the simplest of the winner, `distill` and `supervised` that none of them is better than."""
    rate: float
    """Its learning rate."""
    winner: str
    """The method that did best on validation rows."""
    student: Student = field(repr=False)
    """Of the recommended method, of the seed that did best on validation rows."""
    spec: str
    """The spec of the student."""
    metric: str
    smallest_effect: float
    """The smallest difference of interest, in points."""
    seeds: tuple[int, ...]
    """The fresh seeds of the last round."""
    steps: int
    """The steps of a run of the last round."""
    finalists: tuple[Finalist, ...]
    """The best on validation rows first."""
    differences: tuple[Difference, ...]
    """Of the winner to `distill` and to `supervised`, and of these to each other, on test rows."""
    teacher: float
    """The teacher's metric on the test rows."""
    tried: tuple[Document, ...]
    """Every run: method, learning rate, share of the steps, seed, validation metric, seconds, and why it failed."""
    left_out: Mapping[str, str]
    """The methods that do not fit, and why."""
    out_of_time: bool
    """Whether the time was up before everything was tried."""
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    directory: Path | None = None

    def sentences(self) -> tuple[str, ...]:
        """What was found."""
        found = [self._against_distillation(), self._against_training()]
        entry = next(one for one in self.finalists if one.method == self.method)
        found.append(f"Use {self.method} with lr={entry.rate:.3g} and {self.steps:,} steps.")
        if self.out_of_time:
            found.append("The time was up before everything was tried; more minutes may find more.")
        return tuple(one for one in found if one)

    def _against_distillation(self) -> str:
        if self.winner in ("distill", "supervised"):
            plain = "distillation" if self.winner == "distill" else "training"
            return f"No method beats plain {plain} here: it did best on validation rows."
        one = self.to("distill")
        assert one is not None
        if one.verdict == "better":
            return f"{self.winner} is better than plain distillation here: by {self._words(one)}."
        said = {"equivalent": "is equivalent to it", "worse": "is worse", "undecided": "is not shown to be better"}
        return (
            f"No method beats plain distillation here: {self.winner} did best on validation rows, but "
            f"{said[one.verdict]} on test rows, at a difference of {self._words(one)}."
        )

    def _against_training(self) -> str:
        one = next(one for one in self.differences if (one.method, one.other) == ("distill", "supervised"))
        said = {
            "better": "is better than",
            "worse": "is worse than",
            "equivalent": "is equivalent to",
            "undecided": "is not shown to differ from",
        }
        return f"Plain distillation {said[one.verdict]} training without a teacher: a difference of {self._words(one)}."

    def to(self, other: str) -> Difference | None:
        """The winner's difference to another method."""
        return next((one for one in self.differences if (one.method, one.other) == (self.winner, other)), None)

    def _words(self, one: Difference) -> str:
        value, low, high = (wording.number(100 * figure, 1, sign=True) for figure in (one.mean, one.low, one.high))
        return f"{value} points ({low} to {high})"

    def as_dict(self) -> Document:
        """The contents of `recommend.json`."""
        left_out = ("student", "directory")
        own = {one.name: getattr(self, one.name) for one in dataclasses.fields(self) if one.name not in left_out}
        own["finalists"] = [dataclasses.asdict(one) for one in self.finalists]
        own["differences"] = [dataclasses.asdict(one) for one in self.differences]
        return {**own, "sentences": list(self.sentences())}


def recommended(winner: str, differences: Sequence[Difference]) -> str:
    """The simplest of `supervised`, `distill` and the winner that none of the others is better than."""
    better = {(one.method, one.other) for one in differences if one.verdict == "better"}
    worse = {(one.other, one.method) for one in differences if one.verdict == "worse"}
    names = list(dict.fromkeys(("supervised", "distill", winner)))
    beaten = {other for _, other in better | worse}
    return next((name for name in names if name not in beaten), winner)
