"""Classes that are never predicted."""

from typing import final

import torch
from torch import Tensor

from didact.errors import check_range
from didact.health.base import BaseMonitor
from didact.types import Level, Verdict, Window


def silent_classes(logits: Tensor, least: float) -> Tensor:
    """The classes that should have been predicted several times by their probabilities, but never are.

    Args:
        logits: [N, C].
        least: how many of N predictions a class should have had: the sum of its probabilities over the examples.

    Returns:
        bool [C].
    """
    expected = logits.detach().to("cpu", torch.float64).softmax(-1).sum(0)
    predicted = logits.argmax(-1).cpu().bincount(minlength=logits.shape[-1])
    return (predicted == 0) & (expected >= least)


@final
class SilentClasses(BaseMonitor):
    """Objects when the learner never predicts a class that it gives much probability to.

    On unbalanced data a net may answer the commonest class for everything, with a high accuracy. The figure is the
    number of classes that were silent in each of the last `persist` probes. It objects once for each new set of them.
    In a window without probing it is the last one.

    Args:
        action: the action that it requests.
        least: a class counts if its probabilities over the probe batch add up to this many examples, above 0.
        persist: probes in a row without a prediction, at least 1.
    """

    name = "silent_classes"
    materials = ("examples",)
    kept = ("streak", "told")

    def __init__(self, *, action: Level = "warn", least: float = 3.0, persist: int = 3) -> None:
        super().__init__(action)
        check_range("SilentClasses(least=...)", least, above=0)
        check_range("SilentClasses(persist=...)", persist, at_least=1)
        self.least, self.persist = least, persist
        self.streak = torch.zeros(0, dtype=torch.int64)
        self.told: list[int] = []

    def observe(self, window: Window) -> Verdict:
        """Count predictions by class if the window allows probing."""
        if window.probe is None:
            return Verdict("ok", self.name, float(len(self.told)), "This window was not probed.")
        logits = window.probe().logits.flatten(0, -2)
        if logits.shape[-1] < 2:
            return Verdict("ok", self.name, 0.0, "The learner has one output, so there are no classes.")
        now = silent_classes(logits, self.least)
        before = self.streak if len(self.streak) == len(now) else torch.zeros_like(now, dtype=torch.int64)
        self.streak = (before + 1) * now
        silent = (self.streak >= self.persist).nonzero()[:, 0].tolist()
        new, self.told = bool(set(silent) - set(self.told)), silent
        if not new:
            return Verdict("ok", self.name, float(len(silent)), f"{len(silent)} classes are never predicted.")
        names = ", ".join(map(str, silent[:8]))
        reason = (
            f"None of {len(logits)} training examples is predicted as class number {names}, although its probabilities "
            f"add up to {self.least:g} or more; class_weights=balanced or sampler=balanced may help."
        )
        return Verdict(self.action, self.name, float(len(silent)), reason)
