"""The mechanism of `decoupled`."""

import math

from torch import Tensor

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.world import batch, coefficient, gradient, normal, student, teacher
from didact.methods.distillation import distill
from didact.methods.distillation.decoupled import Config, Decoupled

N, C, SURE = 32, 6, 0.999


def sure(logits: Tensor, target: Tensor) -> Tensor:
    """Logits that give the target a probability of `SURE`, and leave the others in proportion."""
    others = logits.scatter(1, target, -math.inf).logsumexp(1, keepdim=True)
    return logits.scatter(1, target, others + math.log(SURE / (1.0 - SURE)))


@mechanism(
    world="Tables of logits; both are sure of the label, and differ in what they say about the other classes.",
    effect="What the teacher says about the other classes arrives undiminished: q - p among the others.",
    control="Plain distillation multiplies it by the probability that is left to the others.",
    breaks=("flip decoupled_kd", "drop decoupled_kd", "shuffle decoupled_kd"),
)
def others_are_learned_from_a_sure_teacher(seed: int) -> Found:
    """The gradient's coefficient on that of the divergence among the other classes."""
    rows = batch(N, C, seed)
    target = rows["label"].unsqueeze(1)
    mine, theirs = sure(normal(N, C, seed=seed), target), sure(normal(N, C, seed=seed + 50), target)
    q, p = (one.scatter(1, target, -math.inf).softmax(1) for one in (mine, theirs))
    closed = (q - p) / N
    options = Config(target_weight=0.0, others_weight=1.0, temperature=1.0, ramp_up=0.0)
    method = Decoupled(options, student(mine), teacher(theirs))
    plain = distill.Distill(distill.Config(temperature=1.0, alpha=1.0), student(mine), teacher(theirs))
    return Found(
        effect=coefficient(gradient(method, rows, "others"), closed),
        predicted=near(1.0),
        control=coefficient(gradient(plain, rows, "teacher"), closed),
        null=near(1.0 - SURE, 0.01),
    )
