"""The input and output of monitors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

from didact.types.outputs import Output

Level = Literal["ok", "warn", "pause", "roll_back", "stop"]


LEVELS: tuple[Level, ...] = ("ok", "warn", "pause", "roll_back", "stop")
"""The actions that a monitor can request, from the mildest to the most drastic."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The conclusion of a monitor."""

    level: Level
    monitor: str
    """The monitor's name."""
    figure: float
    """The number that the conclusion is based on."""
    reason: str
    """The conclusion in words, as a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """What a method teaches itself of up to 512 labelled validation examples, N, which it does not learn from."""

    label: Tensor
    """int64 [N], the true classes."""
    said: Tensor
    """int64 [N], its pseudo-labels."""
    gate: Tensor
    """float [N] in [0, 1], their weights; 0 does not pass the gate."""
    student: Tensor
    """int64 [N], the classes that the delivered learner answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The optimizer steps since a monitor was last called."""

    step: int
    """Optimizer steps done so far."""
    losses: Mapping[str, Tensor]
    """float64 [W] on the CPU for each term and for `total`, one entry a step."""
    grad_norm: Tensor
    """float64 [W] on the CPU: the norm of the whole gradient before clipping; empty where it was not computed."""
    finite: bool
    """False when the last step was halted because its loss or gradient was not finite."""
    probe: Callable[[], Output] | None
    """Computes the learner's output, in evaluation mode, on a fixed probe batch of up to 128 training examples, with at
    most one forward pass for all monitors. None where the window does not allow probing."""
    held_out: Callable[[], HeldOut] | None = None
    """Computes what the method teaches itself of validation examples, once for all monitors. None where the window does
    not allow probing, where the method has no pseudo-labels, or without validation labels of classes."""
    labels: Callable[[], tuple[Tensor, Tensor]] | None = None
    """Computes whether the delivered learner answers some training labels as given, bool [N], and some validation
    labels, bool [M]; the same ones in each window. None where the window does not allow probing, or without them."""


class Monitor(Protocol):
    """Measures training and returns a verdict; never acts."""

    def observe(self, window: Window) -> Verdict:
        """Return the verdict on a window of steps."""
        ...
