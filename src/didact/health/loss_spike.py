"""A loss that jumps far above what it has been, and stays there."""

import math
import statistics
from typing import final

from didact.errors import ConfigError, check_range
from didact.health.base import BaseMonitor
from didact.types import Level, Verdict, Window

_NORMAL = 1.4826
"""1 / Phi^-1(3/4): makes the median absolute deviation of normal data estimate their standard deviation."""

_FLOOR = 1e-3
"""The least spread, as a fraction of the median, so that a loss which has stood still may tremble."""

_SMALLEST = 2.0**-126
"""The smallest normal float32: the spread of losses that were all zero."""


@final
class LossSpike(BaseMonitor):
    """Objects when the total loss is far above its recent median for several steps in a row.

    A loss is high when it exceeds the median of the trailing losses by more than `threshold` robust standard
    deviations (the median absolute deviation times 1.4826). The trailing losses are those of earlier windows, so a
    spike is never judged by itself; they are kept up to `history`, so a new, higher level becomes normal in the end.
    The figure is the highest excess in robust standard deviations that held for `persist` steps; 0 while fewer than
    `warmup` losses are known. Medians are lower medians, as `torch.median` has them. When the loss has other terms than
    before, as in the second stage of a method, what it was before is forgotten.

    Args:
        action: what to ask for.
        threshold: robust standard deviations above the median that are too many, above 0.
        persist: steps in a row that a loss must stay high, at least 1; runs go on from window to window.
        history: how many trailing losses are kept, at least `warmup`.
        warmup: how many losses must be known before anything is called high, at least 2.
    """

    name = "loss_spike"
    kept = ("trailing", "recent", "terms")

    def __init__(
        self,
        *,
        action: Level = "warn",
        threshold: float = 6.0,
        persist: int = 3,
        history: int = 200,
        warmup: int = 50,
    ) -> None:
        super().__init__(action)
        check_range("LossSpike(threshold=...)", threshold, above=0)
        check_range("LossSpike(persist=...)", persist, at_least=1)
        check_range("LossSpike(warmup=...)", warmup, at_least=2)
        if history < warmup:
            raise ConfigError(f"LossSpike(history={history}) is below warmup={warmup}; keep at least that many losses.")
        self.threshold, self.persist, self.history, self.warmup = threshold, persist, history, warmup
        self.trailing: list[float] = []
        self.recent: list[float] = []
        self.terms: list[str] = []

    def observe(self, window: Window) -> Verdict:
        """Compare the window's total losses with those of the windows before, then remember them."""
        losses = [loss for loss in window.losses["total"].tolist() if math.isfinite(loss)]
        if (terms := sorted(window.losses)) != self.terms:
            self.terms, self.recent, self.trailing = terms, [], []
        known = len(self.trailing)
        if known < self.warmup:
            verdict = Verdict("ok", self.name, 0.0, f"{known} of the {self.warmup} losses needed are known.")
        else:
            verdict = self._verdict(losses)
        self.trailing = [*self.trailing, *losses][-self.history :]
        return verdict

    def _verdict(self, losses: list[float]) -> Verdict:
        centre = statistics.median_low(self.trailing)
        spread = statistics.median_low([abs(loss - centre) for loss in self.trailing]) * _NORMAL
        # Where most losses are zero, their mean says on which scale the others are.
        spread = max(spread, _FLOOR * abs(centre)) or _FLOOR * statistics.fmean(map(abs, self.trailing))
        spread = max(spread, _SMALLEST)
        excess = self.recent + [(loss - centre) / spread for loss in losses]
        self.recent = excess[-(self.persist - 1) :] if self.persist > 1 else []
        figure = _sustained(excess, self.persist)
        if figure <= self.threshold:
            return Verdict("ok", self.name, figure, f"The loss stays near its recent median of {centre:.4g}.")
        return Verdict(
            self.action,
            self.name,
            figure,
            f"The loss was above {centre + self.threshold * spread:.4g} for {self.persist} steps or more, and held "
            f"{figure:.1f} robust standard deviations above its recent median of {centre:.4g}.",
        )


def _sustained(values: list[float], length: int) -> float:
    """The highest level that `length` neighbouring values all reach, not below 0; 0 where there are fewer."""
    levels = values
    for shift in range(1, length):
        levels = list(map(min, levels, values[shift:]))
    return max(0.0, max(levels, default=0.0)) if len(values) >= length else 0.0
