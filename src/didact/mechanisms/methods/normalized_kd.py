"""The mechanism of `normalized_kd`."""

import torch

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.world import batch, coefficient, gradient, normal, student, teacher
from didact.methods.distillation.normalized_kd import Config, NormalizedKD

N, C = 32, 6


@mechanism(
    world="Tables of logits.",
    effect="The label's loss is weighted by the teacher's probability of the label: p_t (q - onehot).",
    control="The teacher's rows are shuffled among the examples of other classes.",
    breaks=("flip weighted_nll", "drop weighted_nll", "shuffle weighted_nll"),
)
def the_target_is_soft(seed: int) -> Found:
    """The coefficient of the target's gradient on the closed form, of rows that are weighted apart."""
    rows = batch(N, C, seed)
    mine, theirs = normal(N, C, seed=seed), 3.0 * normal(N, C, seed=seed + 50)
    target = rows["label"].unsqueeze(1)
    error = mine.softmax(1).scatter_add(1, target, -torch.ones(N, 1))
    weights = theirs.softmax(1).gather(1, target)
    # What is apart from the mean weight is what the teacher says about single examples.
    closed = (weights - weights.mean()) * error / N

    def measured(shown: torch.Tensor) -> float:
        method = NormalizedKD(Config(gamma=0.0), student(mine), teacher(shown))
        own = shown.softmax(1).gather(1, target).mean()
        return coefficient(gradient(method, rows, "target") - own * error / N, closed)

    return Found(effect=measured(theirs), predicted=near(1.0), control=measured(theirs.roll(1, 0)), null=(-0.6, 0.6))
