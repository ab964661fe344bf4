"""The mechanism of `softmatch`."""

import torch

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.world import normal, student
from didact.methods.semi_supervised.softmatch import Config, SoftMatch
from didact.types import IGNORE, Batch

ROWS, CLASSES = 64, 4


@mechanism(
    world="A student whose answers stay as unsure as they are.",
    effect="The weight of an answer is 1 above the mean confidence, and falls below it as exp(-2 z^2).",
    control="The Gaussian is infinitely wide: all weigh 1.",
    breaks=("drop gaussian_gate", "shuffle gaussian_gate"),
)
def the_weight_falls_with_the_confidence_as_a_gaussian(seed: int) -> Found:
    """The mean shortfall of the weights, in the order of the closed form."""
    probs = normal(ROWS, CLASSES, seed=seed).softmax(-1)
    rows = torch.arange(ROWS)
    batch = Batch({"label": torch.full((ROWS,), IGNORE), "id": rows, "row": rows, "weak.row": rows, "strong.row": rows})
    confidence = probs.amax(-1)
    below = ((confidence.mean() - confidence) / confidence.std()).clamp(min=0.0)
    closed = 1.0 - torch.exp(-2.0 * below.square())

    def measured(sigmas: float) -> float:
        method = SoftMatch(Config(sigmas=sigmas, aligned=False, decay=0.0), student(probs.log()), batch)
        method.note(probs.log(), torch.ones(ROWS))
        shortfall = 1.0 - method.admit(probs.log())[1]
        return float((shortfall * closed).sum() / closed.square().sum())

    return Found(effect=measured(2.0), predicted=near(1.0), control=measured(0.0), null=near(0.0))
