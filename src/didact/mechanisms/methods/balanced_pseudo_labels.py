"""The mechanism of `balanced_pseudo_labels`."""

import torch

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.world import gradient, student
from didact.methods.semi_supervised.balanced_pseudo_labels import BalancedPseudoLabels, Config
from didact.types import IGNORE, Batch

COMMON, RARE, TAKEN = 60, 20, 10


@mechanism(
    world="A teacher that is surer of every example of a common class than of any of a rare one.",
    effect="As many examples of the rare class are taken as of the common one: half of the gradient's rows.",
    control="The surest answers of all are taken: every one is of the common class.",
    breaks=("drop top_of_each_class", "drop cross_entropy"),
)
def a_rare_class_is_taken_as_often_as_a_common_one(seed: int) -> Found:
    """The share of the rare class among the examples that are learned."""
    size = COMMON + RARE
    rare = torch.arange(size) >= COMMON
    spread = torch.rand(size, generator=torch.Generator().manual_seed(seed))
    confidence = torch.where(rare, 0.6 + 0.1 * spread, 0.8 + 0.1 * spread)
    likeliest = torch.stack(
        [torch.where(rare, 1.0 - confidence, confidence), torch.where(rare, confidence, 1.0 - confidence)], 1
    )
    rows = torch.arange(size)
    batch = Batch({"label": torch.full((size,), IGNORE), "id": rows, "row": rows})

    def measured(balanced: bool) -> float:
        config = Config(per_class=TAKEN, balanced=balanced)
        teacher = student(likeliest.log())
        method = BalancedPseudoLabels(config, student(torch.zeros(size, 2)), lambda _spec: teacher, batch, size)
        method.fraction = config.teacher_share
        learned = gradient(method, batch, "pseudo").abs().sum(-1) > 0
        return float(rare[learned].double().mean())

    return Found(effect=measured(True), predicted=near(0.5), control=measured(False), null=near(0.0))
