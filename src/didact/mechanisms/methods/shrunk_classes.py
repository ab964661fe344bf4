"""The mechanism of `shrunk_classes`."""

import torch

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.world import gradient, student
from didact.methods.semi_supervised.shrunk_classes import Config, ShrunkClasses
from didact.types import IGNORE, Batch

ROWS = 16


@mechanism(
    world="Half the answers are sure; half hesitate between two of four classes, of which one is answered.",
    effect="The gradient of a hesitating answer leaves the rival's score alone, and lowers those of the other two.",
    control="The rival is left in, as for answers that are sure enough: its score is lowered most.",
    breaks=("shuffle shrink", "flip cross_entropy"),
)
def the_rival_of_an_uncertain_answer_is_left_alone(seed: int) -> Found:
    """The rival's share of the gradient that lowers scores."""
    sure = (torch.arange(ROWS) + seed) % 2 == 0
    hesitating = torch.tensor([0.58, 0.4, 0.01, 0.01])
    table = torch.where(sure[:, None], torch.tensor([0.97, 0.01, 0.01, 0.01]), hesitating).log()
    rows = torch.arange(ROWS)
    batch = Batch({"label": torch.full((ROWS,), IGNORE), "id": rows, "weak.row": rows, "strong.row": rows})

    def measured(threshold: float, term: str) -> float:
        slope = gradient(ShrunkClasses(Config(threshold=threshold), student(table)), batch, term)[~sure]
        return float((slope[:, 1] / slope[:, 1:].clamp(min=0.0).sum(-1)).mean())

    return Found(
        effect=measured(0.95, "shrunk"), predicted=near(0.0), control=measured(0.5, "pseudo"), null=near(0.4 / 0.42)
    )
