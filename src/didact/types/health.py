"""What monitors are shown, and what they conclude."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

from didact.types.outputs import Output

Level = Literal["ok", "warn", "pause", "roll_back", "stop"]


LEVELS: tuple[Level, ...] = ("ok", "warn", "pause", "roll_back", "stop")
"""What a monitor can ask for, from the mildest to the most drastic."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a monitor concludes from what it saw."""

    level: Level
    monitor: str
    """The monitor's name."""
    figure: float
    """The number that the conclusion rests on."""
    reason: str
    """The conclusion in words, as a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What a monitor is shown: the optimizer steps since the last time it was asked."""

    step: int
    """Optimizer steps done so far."""
    losses: Mapping[str, Tensor]
    """float64 [W] on the CPU for each term and for `total`, one entry a step."""
    grad_norm: Tensor
    """float64 [W] on the CPU: the norm of the whole gradient before clipping; empty where it was not computed."""
    finite: bool
    """False when the last step was halted because its loss or gradient was not finite."""
    probe: Callable[[], Output] | None
    """Computes the learner's answer, in evaluation mode, on a fixed probe batch of up to 128 training examples; at most
    one forward pass, however many monitors ask. None where the window is not one for probing."""


class Monitor(Protocol):
    """Measures and concludes; never acts."""

    def observe(self, window: Window) -> Verdict:
        """Look at a window of steps."""
        ...
