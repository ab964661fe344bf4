"""Confirmation bias: pseudo-labels that are wrong, and that the student already repeats."""

from typing import final

from didact.health.pseudo_labels import HeldOutMonitor, right
from didact.types import HeldOut


@final
class ConfirmationBias(HeldOutMonitor):
    """Objects when teacher and student agree and are wrong, on too many of the pseudo-labels that pass the gate.

    The student's answer is that of the learner that is delivered.
    """

    name, default, highest = "confirmation_bias", 0.25, True
    words = "Of the pseudo-labels that pass the gate, {figure:.0%} are wrong and are what the student answers too."
    remedy = "It confirms its own mistakes: a higher threshold, stronger views, or another teacher may help."

    def measure(self, found: HeldOut) -> float:
        """Their share, by weight."""
        agreed = ~right(found) & (found.said == found.student)
        return float((agreed * found.gate).sum() / found.gate.sum())
