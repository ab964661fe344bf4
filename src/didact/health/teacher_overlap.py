"""The overlap of a student's and a teacher's likeliest tokens."""

from typing import final

from didact.errors import check_range
from didact.health.terms import TermMonitor
from didact.types import Level, Verdict, Window


@final
class TeacherOverlap(TermMonitor):
    """Objects when the overlap of a student's and its teacher's likeliest tokens is too low, or has fallen.

    The figure is the share of the teacher's likeliest tokens that are among the student's. It may start low, so that a
    figure below the bound is a complaint only after some windows in a row; a large fall below the maximum so far is one
    at once.

    Args:
        action: the action that it requests.
        bound: the lowest acceptable share in the long run, in (0, 1].
        fall: the lowest acceptable share of the maximum so far, in [0, 1].
        patience: the number of windows in a row below the bound that is a complaint, at least 1.
    """

    name, term, default, highest = "teacher_overlap", "overlap", 0.4, False
    kept = (*TermMonitor.kept, "best", "low")

    def __init__(
        self, *, action: Level = "warn", bound: float | None = None, fall: float = 0.8, patience: int = 5
    ) -> None:
        super().__init__(action=action, bound=bound)
        check_range("TeacherOverlap(bound=...)", self.bound, above=0.0, at_most=1.0)
        check_range("TeacherOverlap(fall=...)", fall, at_least=0.0, at_most=1.0)
        check_range("TeacherOverlap(patience=...)", patience, at_least=1)
        self.fall, self.patience = fall, patience
        self.best, self.low = 0.0, 0

    def observe(self, window: Window) -> Verdict:
        """Check the window; a persistent complaint is made once."""
        figure = self.figure(window)
        if figure is None:
            return Verdict("ok", self.name, 0.0, f"There is no figure {self.term!r}.")
        self.best, self.low = max(self.best, figure), self.low + 1 if figure < self.bound else 0
        words = f"{figure:.0%} of the tokens that the teacher holds likeliest are among the student's"
        if fallen := figure < self.fall * self.best:
            words += f", after {self.best:.0%} before: the student is leaving its teacher."
        elif self.low >= self.patience:
            words += f", below {self.bound:.0%} {self.low} times in a row: what the teacher says may not reach it."
        bad = fallen or self.low >= self.patience
        again, self.objected = self.objected, bad
        return Verdict(self.action if bad and not again else "ok", self.name, figure, words if bad else f"{words}.")
