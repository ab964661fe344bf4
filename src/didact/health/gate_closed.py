"""A gate that lets no pseudo-label pass."""

from typing import final

from didact.errors import check_range
from didact.health.base import BaseMonitor
from didact.health.terms import mean_of
from didact.types import Level, Verdict, Window


@final
class GateClosed(BaseMonitor):
    """Objects when hardly any pseudo-label is confident enough to be learned.

    The figure is the share of unlabelled examples whose pseudo-labels pass, the metric `admitted`. It objects once when
    the share has been low in several windows in a row, as the gates of a new student are closed at first.

    Args:
        action: the action that it requests.
        least: the lowest share, in [0, 1].
        persist: windows in a row, at least 1.
    """

    name = "gate_closed"
    materials = ("examples",)
    kept = ("closed",)

    def __init__(self, *, action: Level = "warn", least: float = 0.001, persist: int = 3) -> None:
        super().__init__(action)
        check_range("GateClosed(least=...)", least, at_least=0.0, at_most=1.0)
        check_range("GateClosed(persist=...)", persist, at_least=1)
        self.least, self.persist, self.closed = least, persist, 0

    def observe(self, window: Window) -> Verdict:
        """Check the window."""
        share = mean_of(window.losses, "admitted")
        if share is None:
            return Verdict("ok", self.name, 0.0, "No pseudo-labels are learned.")
        self.closed = self.closed + 1 if share < self.least else 0
        said = f"{share:.2%} of the pseudo-labels pass the gate"
        if self.closed != self.persist:
            return Verdict("ok", self.name, share, f"{said}.")
        reason = f"Only {said}, so that unlabelled examples teach nothing; a lower threshold or more steps may help."
        return Verdict(self.action, self.name, share, reason)
