"""The mechanism of `distill`."""

import torch

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.world import batch, coefficient, gradient, normal, student, teacher
from didact.methods.distillation.distill import Config, Distill

N, C = 64, 10


@mechanism(
    world="A student and a teacher that are tables of logits, at a high temperature.",
    effect="Squared, the temperature keeps the gradient's size: it is that of the squared distance of centred logits, "
    "over the number of classes (Hinton et al. 2015, section 2.1).",
    control="The teacher's rows are shuffled among the examples.",
    breaks=("flip distillation_loss", "drop distillation_loss", "shuffle distillation_loss"),
)
def high_temperatures_match_logits(seed: int) -> Found:
    """The gradient's coefficient on the closed form."""
    theirs = normal(N, C, seed=seed)
    closed = -(theirs - theirs.mean(1, keepdim=True)) / (C * N)

    def measured(shown: torch.Tensor) -> float:
        method = Distill(Config(temperature=1000.0, alpha=1.0), student(torch.zeros(N, C)), teacher(shown))
        return coefficient(gradient(method, batch(N, C)), closed)

    return Found(
        effect=measured(theirs), predicted=near(1.0, 0.01), control=measured(theirs.roll(1, 0)), null=(-0.2, 0.2)
    )
