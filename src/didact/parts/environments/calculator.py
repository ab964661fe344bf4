"""A calculator: what stands between `<<` and `=` is computed, and `>>` is put behind the result."""

from collections.abc import Callable

from didact.parts.kinds import Spec
from didact.rollouts.environments import Calculator, Environment

FORM = "calculator"
EXAMPLE = "calculator"


def build(spec: Spec) -> Callable[[], Environment]:
    """Makes calculators."""
    return Calculator
