"""The base class of monitors of rollouts, which detect problems of a policy before its rewards show them.

They read the metrics of methods: terms without weight, such as `entropy` and `length`. A monitor whose metric the
method does not have never objects.
"""

import math
from typing import ClassVar

from didact.documents import Values
from didact.errors import check_range
from didact.health.base import BaseMonitor
from didact.types import Level, Verdict, Window


class TermMonitor(BaseMonitor):
    """Abstract: compares the mean of one term over a window, or its ratio to that of the first window, with a bound.

    Args:
        action: the action that it requests.
        bound: the limit of the figure.
    """

    materials = ("questions",)
    kept = ("beginning", "objected")
    term: ClassVar[str]
    """The name of the term."""
    default: ClassVar[float]
    """The default bound."""
    relative: ClassVar[bool] = False
    """Whether the figure is the mean divided by that of the first window."""
    highest: ClassVar[bool] = True
    """Whether the bound is an upper one; else a lower one."""
    words: ClassVar[str]
    """The complaint, as a sentence with `{figure}` and `{bound}`."""

    def __init__(self, *, action: Level = "warn", bound: float | None = None) -> None:
        super().__init__(action)
        self.bound = self.default if bound is None else bound
        check_range(f"{type(self).__name__}(bound=...)", self.bound, above=0.0)
        self.beginning: float | None = None
        self.objected = False

    def observe(self, window: Window) -> Verdict:
        """Check the window; a persistent complaint is made once."""
        figure = self.figure(window)
        if figure is None:
            return Verdict("ok", self.name, 0.0, f"There is no figure {self.term!r}.")
        bad = figure > self.bound if self.highest else figure < self.bound
        again, self.objected = self.objected, bad
        reason = self.words.format(figure=figure, bound=self.bound)
        if not bad or again:
            return Verdict("ok", self.name, figure, f"{self.name} is {figure:.3g}." if not bad else reason)
        return Verdict(self.action, self.name, figure, reason)

    def figure(self, window: Window) -> float | None:
        """The figure of the window; None if there is none."""
        mean = mean_of(window.losses, self.term)
        if mean is None or not self.relative:
            return mean
        if self.beginning is None:
            self.beginning = mean
        return mean / self.beginning if self.beginning > 0 else None


def mean_of(losses: Values, term: str) -> float | None:
    """The mean of a term over a window; None if it is absent or never finite."""
    if term not in losses or not len(losses[term]):
        return None
    mean = float(losses[term].nanmean())
    return mean if math.isfinite(mean) else None
