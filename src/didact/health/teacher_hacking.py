"""Teacher hacking: a student that approaches its teacher and departs from the truth."""

import math
from collections.abc import Sequence
from typing import final

import torch

from didact.errors import check_range
from didact.health.base import BaseMonitor
from didact.health.terms import mean_of
from didact.types import Level, Verdict, Window

_KEPT = 400
"""The largest number of windows in memory; beyond it, every other one is dropped."""
_LEAST = 8
"""The smallest number of windows for the fit of a power law."""
_LEAST_SPREAD = 0.02
"""A lower bound of the deviation of logarithms from a power law, for smooth curves."""


def power_law(steps: Sequence[float], values: Sequence[float]) -> tuple[float, float, float]:
    """Fit value = scale * step^exponent by least squares of the logarithms.

    Args:
        steps: two or more different numbers above 0.
        values: above 0, as many.

    Returns:
        The exponent, the logarithm of the scale, and the root mean square residual of the logarithms.
    """
    x, y = (torch.tensor(list(numbers), dtype=torch.float64).log() for numbers in (steps, values))
    centred = x - x.mean()
    exponent = float((centred * y).sum() / centred.square().sum())
    scale = float(y.mean() - exponent * x.mean())
    return exponent, scale, float((y - exponent * x - scale).square().mean().sqrt())


@final
class TeacherHacking(BaseMonitor):
    """Objects when a student learns its teacher's mistakes (Tiapkin et al. 2025).

    It reads two metrics of a method: `proxy`, the distance from the teacher, and `golden`, the distance from the
    teacher's own target (or the negative log-likelihood of true labels, which differs by a constant). It objects if the
    golden metric has risen above its minimum while the proxy has fallen since; the figure is the relative rise. Healthy
    distances shrink by a power of the number of steps: a second complaint, which needs no golden metric, is about a
    proxy that leaves the power law of the first half of the run; the figure is then the difference of logarithms. All
    are means over `patience` windows.

    Args:
        action: the action that it requests.
        rise: the share by which the golden metric may rise above its minimum, above 0.
        deviation: the largest distance of the logarithm of the proxy from the power law, above 0; a complaint also
            needs four times the average distance of the fitted windows.
        patience: windows that are averaged, at least 1.
    """

    name = "teacher_hacking"
    materials = ("questions",)
    kept = ("seen", "objected")

    def __init__(
        self, *, action: Level = "warn", rise: float = 0.02, deviation: float = 0.7, patience: int = 3
    ) -> None:
        super().__init__(action)
        check_range("TeacherHacking(rise=...)", rise, above=0.0)
        check_range("TeacherHacking(deviation=...)", deviation, above=0.0)
        check_range("TeacherHacking(patience=...)", patience, at_least=1)
        self.rise, self.deviation, self.patience = rise, deviation, patience
        self.seen: list[list[float]] = []
        self.objected: list[str] = []

    def observe(self, window: Window) -> Verdict:
        """Check the run so far; a persistent complaint is made once."""
        proxy, golden = mean_of(window.losses, "proxy"), mean_of(window.losses, "golden")
        if proxy is None or proxy <= 0.0:
            return Verdict("ok", self.name, 0.0, "There is no figure 'proxy'.")
        self.seen.append([float(window.step), proxy, math.nan if golden is None else golden])
        if len(self.seen) > _KEPT:
            self.seen = self.seen[::2]
        found = {"hacking": self._hacking(), "power law": self._deviation()}
        objected, self.objected = self.objected, [kind for kind, complaint in found.items() if complaint[1]]
        new = [found[kind] for kind in self.objected if kind not in objected]
        if new:
            return Verdict(self.action, self.name, *new[0])
        return Verdict("ok", self.name, found["hacking"][0], "The student comes no further from what is true.")

    def _hacking(self) -> tuple[float, str]:
        """The rise of the golden metric, and a complaint if the proxy has fallen meanwhile."""
        proxies, goldens = (self._smooth([row[i] for row in self.seen]) for i in (1, 2))
        known = [value for value in goldens if math.isfinite(value)]
        if len(known) < 2 or not math.isfinite(goldens[-1]):
            return 0.0, ""
        lowest = min(known)
        place = goldens.index(lowest)
        risen = (goldens[-1] - lowest) / max(abs(lowest), 1e-12)
        if risen <= self.rise or proxies[-1] >= proxies[place]:
            return risen, ""
        return risen, (
            f"The distance from the teacher has fallen from {proxies[place]:.3g} to {proxies[-1]:.3g}, while that from "
            f"the truth has risen by {risen:.1%} from its lowest of {lowest:.4g}: the student learns its teacher's "
            "mistakes. Stop earlier, or sample completions anew."
        )

    def _deviation(self) -> tuple[float, str]:
        """The deviation of the proxy from the power law of the first half, and a complaint if it is too large."""
        half = len(self.seen) // 2
        if half < _LEAST or len(self.seen) - half < self.patience:
            return 0.0, ""
        steps, values = [row[0] for row in self.seen], [row[1] for row in self.seen]
        exponent, scale, spread = power_law(steps[:half], values[:half])
        late = zip(steps[-self.patience :], values[-self.patience :], strict=True)
        left = sum(math.log(value) - exponent * math.log(step) - scale for step, value in late) / self.patience
        if abs(left) <= max(self.deviation, 4.0 * max(spread, _LEAST_SPREAD)):
            return left, ""
        way = "faster" if left < 0 else "slower"
        return left, (
            f"The distance from the teacher shrinks {way} than by the power of {exponent:.2f} that held in the first "
            f"half: it is {math.exp(left):.2f} times what follows. The student may be learning its data by heart."
        )

    def _smooth(self, values: list[float]) -> list[float]:
        """Moving averages over `patience` values; empty if there are fewer."""
        size = self.patience
        return [math.fsum(values[i : i + size]) / size for i in range(len(values) - size + 1)]
