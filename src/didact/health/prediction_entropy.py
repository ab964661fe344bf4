"""Collapse of predictions to one class."""

import math
from typing import final

import torch
from torch import Tensor

from didact.errors import check_range
from didact.health.base import BaseMonitor
from didact.types import Level, Verdict, Window


def prediction_entropies(logits: Tensor) -> tuple[float, float]:
    """The normalised entropy of the mean prediction, and the mean entropy of predictions.

    Args:
        logits: [N, C] or [..., C], at least two classes.

    Returns:
        The entropy of the mean prediction, and the mean entropy of a prediction: both in [0, 1], where 1 is the entropy
        of C equally probable classes (log C nats). The first is never below the second. NaN if a logit is NaN.
    """
    probs = logits.detach().flatten(0, -2).to("cpu", torch.float64).softmax(-1)
    scale = math.log(probs.shape[-1])
    of_mean = torch.special.entr(probs.mean(0)).sum()
    mean_of = torch.special.entr(probs).sum(-1).mean()
    return float(of_mean) / scale, float(mean_of) / scale


@final
class PredictionEntropy(BaseMonitor):
    """Objects when nearly all predictions on the probe batch are the same class.

    The figure is the entropy of the mean prediction over that of the uniform distribution: 1 for predictions that are
    spread evenly over the classes, 0 if all are the same class with certainty. In a window without probing it is the
    last one.

    Args:
        action: the action that it requests.
        minimum: the lowest figure, in [0, 1]. Highly imbalanced data need a lower one: a share of 99% of one of two
            classes gives 0.08.
    """

    name = "prediction_entropy"
    materials = ("examples",)
    kept = ("last",)

    def __init__(self, *, action: Level = "warn", minimum: float = 0.05) -> None:
        super().__init__(action)
        check_range("PredictionEntropy(minimum=...)", minimum, at_least=0, at_most=1)
        self.minimum = minimum
        self.last = 0.0

    def observe(self, window: Window) -> Verdict:
        """Measure the entropies if the window allows probing."""
        if window.probe is None:
            return Verdict("ok", self.name, self.last, "This window was not probed.")
        logits = window.probe().logits
        if logits.shape[-1] < 2:
            return Verdict("ok", self.name, self.last, "The learner has one output, so there are no classes.")
        varied, undecided = prediction_entropies(logits)
        if math.isnan(varied):
            return Verdict(self.action, self.name, self.last, "The predictions hold values that are not numbers.")
        self.last = varied
        figures = (
            f"the mean prediction has {varied:.1%} of the entropy of uniform predictions, a single one {undecided:.1%}"
        )
        if varied < self.minimum:
            favourite = int(logits.detach().flatten(0, -2).softmax(-1).mean(0).argmax())
            reason = f"Nearly every prediction is class number {favourite}: {figures}."
            return Verdict(self.action, self.name, varied, reason)
        return Verdict("ok", self.name, varied, f"The predictions are varied: {figures}.")
