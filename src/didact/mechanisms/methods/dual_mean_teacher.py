"""The mechanism of `dual_mean_teacher`."""

import torch

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.world import gradient, student
from didact.methods.semi_supervised.dual_mean_teacher import Config, DualMeanTeacher
from didact.types import IGNORE, Batch

ROWS, CLASSES, RIGHT = 4000, 10, 0.7


@mechanism(
    world="Two confident students that are each right with probability 0.7, independently, and else wrong at random.",
    effect="What both answer alike is right with probability p^2 / (p^2 + (1 - p)^2 / 9).",
    control="Each student's own average answers alone, and is right with probability p.",
    breaks=("shuffle consensus", "flip cross_entropy"),
)
def what_two_averages_agree_on_is_right_more_often(seed: int) -> Found:
    """The share of right pseudo-labels among those that the first student learns."""
    chance = torch.Generator().manual_seed(seed)
    truth = torch.randint(CLASSES, (ROWS,), generator=chance)
    tables = []
    for _ in range(2):
        wrong = (truth + torch.randint(1, CLASSES, (ROWS,), generator=chance)) % CLASSES
        said = torch.where(torch.rand(ROWS, generator=chance) < RIGHT, truth, wrong)
        tables.append(torch.eye(CLASSES)[said] * 8.0)
    rows = torch.arange(ROWS)
    batch = Batch({"label": torch.full((ROWS,), IGNORE), "id": rows, "weak.row": rows, "strong.row": rows})

    def measured(both: bool) -> float:
        config = Config(both=both, labels_first=0.0)
        method = DualMeanTeacher(config, student(tables[0]), lambda _spec: student(tables[1]))
        slope = gradient(method, batch, "pseudo_0")
        learned = slope.amin(-1) < 0
        return float((slope.argmin(-1) == truth)[learned].double().mean())

    alike = RIGHT**2 / (RIGHT**2 + (1 - RIGHT) ** 2 / (CLASSES - 1))
    return Found(effect=measured(True), predicted=near(alike, 0.02), control=measured(False), null=near(RIGHT, 0.03))
