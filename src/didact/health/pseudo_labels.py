"""The base class of monitors of pseudo-labels, which compare them with labels that the student does not see."""

from typing import ClassVar

import torch

from didact.errors import check_range
from didact.health.base import BaseMonitor
from didact.types import HeldOut, Level, Verdict, Window

LEAST = 20
"""The fewest pseudo-labels that say anything."""


class HeldOutMonitor(BaseMonitor):
    """Abstract: compares a figure of the pseudo-labels of validation examples with a bound.

    It objects once each time that the bound is passed. In a window without probing the figure is the last one; a method
    without pseudo-labels, or a run without validation labels, is never objected to.

    Args:
        action: the action that it requests.
        bound: the limit of the figure, in [0, 1].
    """

    materials = ("examples",)
    kept = ("last", "objected")
    default: ClassVar[float]
    """The default bound."""
    highest: ClassVar[bool] = False
    """Whether the bound is an upper one; else a lower one."""
    words: ClassVar[str]
    """What the figure is, as a sentence with `{figure}`."""
    remedy: ClassVar[str]
    """What may help, as a sentence."""

    def __init__(self, *, action: Level = "warn", bound: float | None = None) -> None:
        super().__init__(action)
        self.bound = self.default if bound is None else bound
        check_range(f"{type(self).__name__}(bound=...)", self.bound, at_least=0.0, at_most=1.0)
        self.last, self.objected = 0.0, False

    def measure(self, found: HeldOut) -> float:
        """The figure, in [0, 1]."""
        raise NotImplementedError(f"{type(self).__name__} must implement `measure`.")

    def observe(self, window: Window) -> Verdict:
        """Measure the pseudo-labels of validation examples if the window allows probing."""
        found = None if window.held_out is None else window.held_out()
        if found is None or int((found.gate > 0).sum()) < LEAST:
            return Verdict("ok", self.name, self.last, "There were too few pseudo-labels of validation examples.")
        self.last = self.measure(found)
        bad = self.last > self.bound if self.highest else self.last < self.bound
        new, self.objected = bad and not self.objected, bad
        said = self.words.format(figure=self.last)
        return Verdict(self.action if new else "ok", self.name, self.last, f"{said} {self.remedy}" if new else said)


def right(found: HeldOut) -> torch.Tensor:
    """Whether each pseudo-label is right: bool [N]."""
    return found.said == found.label
