"""The mechanism of `flexmatch`."""

import torch

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.world import student
from didact.methods.semi_supervised.flexmatch import Config, FlexMatch
from didact.types import IGNORE, Batch

SURE, UNSURE = 0.97, 0.5
ROWS = 40
"""Three quarters are answered with confidence as the first class, the others, less surely, as the second."""


@mechanism(
    world="A student that is sure of one class and unsure of another.",
    effect="Of the class that it is unsure of, whose threshold falls to 0, all examples are let in: everything is.",
    control="One threshold for all classes, which lets in those of the first alone.",
    breaks=("drop fixed_gate", "bypass convex_thresholds"),
)
def a_class_that_is_not_learned_yet_is_let_in_earlier(seed: int) -> Found:
    """The share of examples that pass the gate in the second step."""
    rows = torch.arange(ROWS)
    first = (rows + seed) % 4 > 0
    confidence = torch.where(first, SURE, UNSURE)
    table = torch.stack([torch.where(first, confidence, 0.1), torch.where(first, 0.02, UNSURE)], 1)
    table = torch.cat([table, 1.0 - table.sum(1, keepdim=True)], 1).log()
    views = {"weak.row": rows, "strong.row": rows}
    batch = Batch({"label": torch.full((ROWS,), IGNORE), "id": rows, "row": rows, **views})

    def measured(by_class: bool) -> float:
        method = FlexMatch(Config(by_class=by_class), student(table), batch, ROWS)
        method.loss(batch)
        return float(method.loss(batch)["admitted"].mean())

    return Found(effect=measured(True), predicted=near(1.0), control=measured(False), null=near(0.75))
