"""The mechanism of `uskd`."""

import math

import torch
from torch import Tensor

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.world import batch, coefficient, gradient, normal, student
from didact.methods.distillation.uskd import USKD, Config

N, C = 60, 5


def within(scores: Tensor, label: Tensor) -> Tensor:
    """The probabilities of the classes but the label."""
    return scores.scatter(1, label.unsqueeze(1), -math.inf).softmax(1)


@mechanism(
    world="A student that is a table under a head that leaves it as it is, and a weak head that ranks at random.",
    effect="Without a teacher, the classes but the label are drawn to Zipf's law, in the order of weak and strong "
    "head: q - p, with p in proportion to one over the rank.",
    control="The ranks are those of other examples.",
    breaks=("flip decoupled_kd", "drop decoupled_kd", "shuffle zipf_log_probs"),
)
def other_classes_follow_zipf(seed: int) -> Found:
    """The gradient's coefficient on what the ranks add to it."""
    rows, table = batch(N, C, seed), normal(N, C, seed=seed)
    learner = student(table, C)
    with torch.no_grad():
        learner.get_parameter("module.head.weight").copy_(torch.eye(C))
        learner.get_parameter("module.head.bias").zero_()
    method = USKD(Config(beta=1.0), learner, rows, seed)
    with torch.no_grad():
        weak = method.weak_head(table)
    label = rows["label"]
    order = within(weak, label) + within(table, label)
    rank = order.argsort(1, descending=True).argsort(1) + 1.0
    zipf = (1.0 / rank).scatter(1, label.unsqueeze(1), 0.0)
    zipf = zipf / zipf.sum(1, keepdim=True)
    added = gradient(method, rows, "others") - within(table, label) / N
    return Found(
        effect=coefficient(added, -zipf / N),
        predicted=near(1.0),
        control=coefficient(added + zipf.mean(0) / N, -(zipf.roll(1, 0) - zipf.mean(0)) / N),
        null=(-0.4, 0.4),
    )
