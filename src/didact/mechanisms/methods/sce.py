"""The mechanism of `sce`."""

import math

import torch

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.world import batch, gradient, normal, student
from didact.methods.noisy_labels.sce import Config, SymmetricCrossEntropy
from didact.types import Batch

SIZE, CLASSES = 32, 5


@mechanism(
    world="A student that is sure of a class for all rows, and labels of another class.",
    effect="The reverse direction pulls a label's logit by -A p (1 - p), which vanishes where the label has no chance.",
    control="Cross-entropy alone pulls by 1 - p, the whole way.",
    breaks=("flip reverse_cross_entropy", "drop reverse_cross_entropy"),
)
def a_label_without_a_chance_pulls_little(seed: int) -> Found:
    """The pull on the labels' logits, over what it would be in the closed form of the reverse direction."""
    table = normal(SIZE, CLASSES, seed=seed) * 0.1
    table[:, 0] += 4.0
    wrong = Batch({**batch(SIZE, CLASSES, seed), "label": torch.ones(SIZE, dtype=torch.int64)})
    prob = table.softmax(-1)[:, 1]
    closed = float((-math.log(1e-4) * prob * (1.0 - prob)).mean())

    def measured(alpha: float, beta: float) -> float:
        method = SymmetricCrossEntropy(Config(alpha=alpha, beta=beta), student(table))
        return -float(gradient(method, wrong)[:, 1].sum()) / closed

    return Found(effect=measured(0.0, 1.0), predicted=near(1.0), control=measured(1.0, 0.0), null=(4.0, 20.0))
