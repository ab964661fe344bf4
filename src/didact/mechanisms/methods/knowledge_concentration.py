"""The mechanism of `knowledge_concentration`."""

import torch
from torch import Tensor

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.world import batch, coefficient, gradient, normal, student
from didact.methods.distillation.knowledge_concentration import Config, KnowledgeConcentration

N, C = 60, 6


@mechanism(
    world="Tables of logits: a student, and two specialists of three classes each.",
    effect="Each specialist teaches the examples of its own classes, and those classes alone: q - p within the group.",
    control="The specialists' rows are shuffled among the examples.",
    breaks=("flip group_distillation_loss", "drop group_distillation_loss", "shuffle group_distillation_loss"),
)
def specialists_teach_their_own_classes(seed: int) -> Found:
    """The gradient's coefficient on what the specialists add to it."""
    rows, mine = batch(N, C, seed), normal(N, C, seed=seed)
    theirs = [normal(N, C, seed=seed + 50 + k) for k in range(2)]
    inside = torch.zeros(N, C)
    own, said = torch.zeros(N, C), torch.zeros(N, C)
    for k, group in enumerate((slice(0, 3), slice(3, 6))):
        here = ((rows["label"] >= group.start) & (rows["label"] < group.stop)).float().unsqueeze(1)
        inside[:, group] = here.expand(N, 3)
        own[:, group] = here * mine[:, group].softmax(1) / N
        said[:, group] = here * theirs[k][:, group].softmax(1) / N
    closed = -(said - inside * said.sum(0) / inside.sum(0))

    def measured(shown: list[Tensor]) -> float:
        specialists = iter(shown)
        config = Config(specialists=2)
        method = KnowledgeConcentration(config, student(mine), rows, lambda _spec: student(next(specialists)))
        method.fraction = 1.0
        return coefficient(gradient(method, rows, "teacher") - own, closed)

    control = measured([one.roll(1, 0) for one in theirs])
    return Found(effect=measured(theirs), predicted=near(1.0), control=control, null=(-0.4, 0.4))
