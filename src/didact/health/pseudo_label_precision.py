"""The precision of pseudo-labels."""

from typing import final

from didact.health.pseudo_labels import HeldOutMonitor, right
from didact.types import HeldOut


@final
class PseudoLabelPrecision(HeldOutMonitor):
    """Objects when too many of the pseudo-labels that pass the gate are wrong, by labels that are held out."""

    name, default = "pseudo_label_precision", 0.6
    words = "Of the pseudo-labels of validation examples that pass the gate, {figure:.0%} are right."
    remedy = "A higher threshold, or more labels, may help."

    def measure(self, found: HeldOut) -> float:
        """Their share, by weight."""
        return float((right(found) * found.gate).sum() / found.gate.sum())
