"""The mechanism of `bd_kd`."""

import torch
from torch import Tensor

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.world import batch, gradient, normal, student
from didact.methods.distillation.bd_kd import BDKD, Config

N, C = 32, 5


@mechanism(
    world="Tables of logits; the student is more confident than its teacher about every example.",
    effect="The forward divergence, which spreads the student's probability, weighs 0.75, and the reverse one 0.25.",
    control="Without emphasis both weigh one half.",
    breaks=("flip entropy_balanced_kl", "drop entropy_balanced_kl", "shuffle entropy_balanced_kl"),
)
def the_confident_are_spread(seed: int) -> Found:
    """The weight of the forward divergence in the gradient, by least squares on the two directions."""
    rows, mine, theirs = batch(N, C, seed), 4.0 * normal(N, C, seed=seed), 0.5 * normal(N, C, seed=seed + 50)
    q, p = mine.softmax(1), theirs.softmax(1)
    forward = (q - p) / N
    gap = mine.log_softmax(1) - theirs.log_softmax(1)
    reverse = q * (gap - (q * gap).sum(1, keepdim=True)) / N

    def measured(emphasis: float) -> float:
        method = BDKD(Config(weight=1.0, emphasis=emphasis), student(mine), lambda _spec: student(theirs))
        found = gradient(method, rows, "balanced").flatten()
        both = torch.stack([forward.flatten(), reverse.flatten()], 1)
        weights: Tensor = torch.linalg.lstsq(both, found.unsqueeze(1)).solution
        return float(weights[0, 0])

    return Found(effect=measured(0.75), predicted=near(0.75), control=measured(0.5), null=near(0.5))
