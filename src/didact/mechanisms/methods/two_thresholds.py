"""The mechanism of `two_thresholds`."""

import torch

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.world import student
from didact.methods.semi_supervised.two_thresholds import Config, TwoThresholds
from didact.types import IGNORE, Batch

LABELLED = (0.61, 0.61, 0.81, 0.81)
"""The confidences in right answers to labels, of two kinds."""
UNLABELLED = (0.9, 0.7, 0.5)
"""One above both kinds, one between them, one below."""


@mechanism(
    world="A student whose confidence in right answers to labels has two values.",
    effect="An answer above both counts as a label, one between them by its confidence, one below not at all.",
    control="Both thresholds stay where they began, above all answers, none of which is let in.",
    breaks=("drop graded_gate", "drop two_thresholds"),
)
def answers_are_learned_in_three_grades(seed: int) -> Found:
    """The mean weight of the unlabelled answers."""
    order = torch.randperm(len(LABELLED) + len(UNLABELLED), generator=torch.Generator().manual_seed(seed))
    confidence = torch.tensor([*LABELLED, *UNLABELLED])[order]
    label = torch.tensor([0] * len(LABELLED) + [IGNORE] * len(UNLABELLED))[order]
    table = torch.stack([confidence, 1.0 - confidence], 1).log()
    rows = torch.arange(len(order))
    batch = Batch({"label": label, "id": rows, "row": rows, "weak.row": rows, "strong.row": rows})

    def measured(adaptive: bool) -> float:
        method = TwoThresholds(Config(adaptive=adaptive), student(table), batch, len(order))
        return float(method.loss(batch)["admitted"].mean())

    return Found(
        effect=measured(True), predicted=near((1.0 + UNLABELLED[1]) / 3), control=measured(False), null=near(0.0)
    )
