"""The share of doubtful labels that the student has memorised."""

import math
from typing import final

import torch
from torch import Tensor

from didact.errors import check_range
from didact.health.base import BaseMonitor
from didact.health.pseudo_labels import LEAST
from didact.types import Level, Verdict, Window


@final
class MemorisedLabels(BaseMonitor):
    """Objects when the student learns labels by heart, and forgets others for them.

    A net learns what is common before it memorises wrong labels (Arpit et al. 2017). So the doubtful training labels
    are those that the student contradicted when it was right on the most validation labels. The figure is the share of
    these that it answers as given now, less that of such validation labels, which it can't have memorised (if there are
    20 of them). It objects when that passes the bound while validation has got worse by more than two standard
    errors, once each time. Up to 512 labels of each are looked at, in windows that allow probing; with fewer than 20
    doubtful training labels there is no figure.

    Args:
        action: the action that it requests.
        bound: the largest figure that is let pass, in [0, 1].
    """

    name = "memorised_labels"
    materials = ("examples",)
    kept = ("train", "validation", "last", "objected")

    def __init__(self, *, action: Level = "warn", bound: float = 0.2) -> None:
        super().__init__(action)
        check_range("MemorisedLabels(bound=...)", bound, at_least=0.0, at_most=1.0)
        self.bound, self.last, self.objected = bound, 0.0, False
        self.train, self.validation = torch.zeros(0, dtype=torch.bool), torch.zeros(0, dtype=torch.bool)

    def observe(self, window: Window) -> Verdict:
        """Compare what the student answers now with what it answered at its best, if the window allows probing."""
        if window.labels is None:
            return Verdict("ok", self.name, self.last, "No labels were looked at.")
        train, validation = window.labels()
        if not len(self.validation) or int(validation.sum()) >= int(self.validation.sum()):
            self.train, self.validation, self.last, self.objected = train, validation, 0.0, False
            return Verdict("ok", self.name, 0.0, "The student is at its best on validation.")
        learned, control = _regained(self.train, train), _regained(self.validation, validation)
        if learned is None:
            return Verdict("ok", self.name, self.last, "There were too few doubtful labels.")
        self.last = max(0.0, learned - (control or 0.0))
        lost, won = int((self.validation & ~validation).sum()), int((validation & ~self.validation).sum())
        bad = self.last > self.bound and lost - won > 2.0 * math.sqrt(lost + won)
        new, self.objected = bad and not self.objected, bad
        said = (
            f"Of the training labels that the student contradicted at its best, it answers {learned:.0%} as given now"
            + ("" if control is None else f", of such validation labels {control:.0%}")
            + f"; it is right on {(lost - won) / len(validation):.1%} fewer of all validation labels."
        )
        remedy = " It learns labels by heart: fewer steps, select='best' or a method for wrong labels may help."
        return Verdict(self.action if new else "ok", self.name, self.last, said + remedy if new else said)


def _regained(before: Tensor, now: Tensor) -> float | None:
    """The share of the labels that were contradicted before that is answered now; None for too few."""
    doubted = ~before
    return float(now[doubted].double().mean()) if int(doubted.sum()) >= LEAST else None
