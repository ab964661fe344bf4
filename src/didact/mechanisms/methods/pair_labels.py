"""The mechanism of `pair_labels`."""

import torch

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.world import student
from didact.methods.semi_supervised.pair_labels import Config, PairLabels
from didact.types import IGNORE, Batch


@mechanism(
    world="Two weak labels, each of which stands for two kinds of examples, and a teacher that tells two kinds apart.",
    effect="The target tells all four kinds apart: the pair knows what neither of its parts does.",
    control="The weak label alone, which tells two.",
    breaks=("bypass pair_labels", "drop cross_entropy"),
)
def a_pair_tells_more_than_its_parts(seed: int) -> Found:
    """How many kinds are told apart: the outputs that the gradient raises."""
    kind = torch.randperm(64, generator=torch.Generator().manual_seed(seed)) % 4
    rows, weak = torch.arange(64), kind // 2
    batch = Batch({"label": torch.full((64,), IGNORE), "id": rows, "row": rows, "weak": weak})
    answers = student(torch.nn.functional.one_hot(kind % 2, 2).float() * 9.0)

    def measured(config: Config) -> float:
        method = PairLabels(config, student(torch.ones(64, 3), classes=2), lambda _spec: answers, batch, 64)
        method.fraction = config.teacher_share
        for weight in method.head.parameters():
            torch.nn.init.zeros_(weight)
        (slope,) = torch.autograd.grad(method.loss(batch).total(), [method.head.linear.bias])
        return float((slope < 0).sum())

    return Found(effect=measured(Config()), predicted=near(4.0), control=measured(Config(learn="weak")), null=near(2.0))
