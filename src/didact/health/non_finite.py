"""Losses or gradients that are not finite."""

import math
from typing import final

from didact.health.base import BaseMonitor
from didact.types import Level, Verdict, Window


@final
class NonFinite(BaseMonitor):
    """Objects when a loss term or the gradient is NaN or infinite.

    The loop halts such a step before the optimizer takes it; this monitor requests the next action, and names the term.
    Its figure is the number of loss terms that are not finite.

    Args:
        action: the action that it requests.
    """

    name = "non_finite"

    def __init__(self, *, action: Level = "stop") -> None:
        super().__init__(action)

    def observe(self, window: Window) -> Verdict:
        """Check the window's losses; costs one pass over the total while all are finite."""
        total = window.losses["total"]
        if window.finite and all(map(math.isfinite, total.tolist())):
            return Verdict("ok", self.name, 0.0, "Every loss and gradient is finite.")
        culprits = _culprits(window)
        return Verdict(self.action, self.name, float(len(culprits)), _reason(window, culprits))


def _culprits(window: Window) -> dict[str, float]:
    """The terms that are not finite in the step where the total first was not, with their values.

    If the total is finite, so are the terms in it: a term with a count of 0 is NaN too.
    """
    bad = (~window.losses["total"].isfinite()).nonzero()
    if not bad.numel():
        return {}
    step = int(bad[0])
    values = {name: float(losses[step]) for name, losses in window.losses.items() if name != "total"}
    return {name: value for name, value in values.items() if not math.isfinite(value)}


def _reason(window: Window, culprits: dict[str, float]) -> str:
    """Name the most specific value that is not finite."""
    when = f"after {window.step} optimizer steps"
    if culprits:
        values = ", ".join(f"{name!r} is {value}" for name, value in culprits.items())
        return f"The loss term {values} {when}; a lower learning rate or clip_norm usually helps."
    total = window.losses["total"]
    if not total.isfinite().all():
        return f"The total loss is {float(total[~total.isfinite()][0])} {when}, though each of its terms is finite."
    return f"The gradient is not finite {when}, though the losses are; clip_norm or a lower learning rate may help."
