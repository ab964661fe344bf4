"""What a check of a mechanism is, and what it returns."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from didact.errors import ConfigError

Range = tuple[float, float]
"""The lowest and the highest value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a check measured with one seed."""

    effect: float
    predicted: Range
    """Where the effect must lie, by a closed form or by construction."""
    control: float
    """The same figure under the control."""
    null: Range
    """Where the mean of the controls over seeds must lie; it has nothing in common with `predicted`."""


Check = Callable[[int], Found]


def mechanism(*, world: str, effect: str, control: str, breaks: Sequence[str]) -> Callable[[Check], Check]:
    """Mark a function as a check of the mechanism of the method that its file is named after.

    Args:
        world: where the truth is known.
        effect: what must be there, in a sentence.
        control: where it must be absent.
        breaks: what breaks the mechanism, so that the check fails; see `breaking.broken`.
    """
    if not breaks:
        raise ConfigError("breaks is empty; name what breaks the mechanism, such as 'flip distillation_loss'.")

    def mark(check: Check) -> Check:
        setattr(check, "mechanism", {"world": world, "effect": effect, "control": control, "breaks": tuple(breaks)})  # noqa: B010
        return check

    return mark


def near(value: float, relative: float = 1e-3) -> Range:
    """A range around a value of closed form."""
    slack = max(abs(value) * relative, 1e-5)
    return value - slack, value + slack


def above(value: float) -> Range:
    """Everything from a value on."""
    return value, math.inf


def below(value: float) -> Range:
    """Everything up to a value."""
    return -math.inf, value
