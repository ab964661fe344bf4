"""The classes that pseudo-labels cover."""

from typing import final

from didact.health.pseudo_labels import HeldOutMonitor
from didact.types import HeldOut


@final
class ClassCoverage(HeldOutMonitor):
    """Objects when the pseudo-labels that pass the gate are of too few of the classes."""

    name, default = "class_coverage", 0.7
    words = "The pseudo-labels that pass the gate are of {figure:.0%} of the classes of the validation examples."
    remedy = "Thresholds by class (flexmatch, freematch) may help, or labels of the classes that are missing."

    def measure(self, found: HeldOut) -> float:
        """The share of the classes that occur."""
        classes = found.label.unique()
        return float((found.said[found.gate > 0].unique()[:, None] == classes).any(0).double().mean())
