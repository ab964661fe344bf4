"""The accuracy under attack, of data that say how far an attacker may move an input."""

import copy
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from didact.losses.attacks import attack
from didact.types import Batch, Examples

RADIUS = "radius"
"""The tensor that says how far each number of an input may be moved, float [N]."""
METRIC = "robust_accuracy"
STEPS = 20
"""Of the attack. Each moves a number by an eighth of the radius."""


def metrics(student: Any, examples: Examples) -> dict[str, float]:
    """The `robust_accuracy` in [0, 1]: the accuracy on inputs that are moved to raise the student's loss.

    The attack is PGD from the input itself (Madry et al. 2018), so that it is the same each time, within [0, 1] where
    the inputs are images.

    Args:
        student: any; nothing is measured of one that is no module, which has no gradient.
        examples: N of them, each with a label and a `RADIUS`.
    """
    if not isinstance(student, nn.Module):
        return {}
    model = copy.deepcopy(student).eval()
    device = next((weight.device for weight in model.parameters()), torch.device("cpu"))
    batch = examples.batch().to(device)
    radius = batch[RADIUS].view(-1, *[1] * (batch["x"].ndim - 1))

    def loss(x: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(model(Batch({**batch, "x": x})).logits, batch["label"], reduction="sum")

    bounds = (0.0, 1.0) if examples.modality == "image" else None
    moved = attack(batch["x"], loss, radius=radius, step=radius / 8.0, steps=STEPS, bounds=bounds, start=False)
    with torch.no_grad():
        said = model(Batch({**batch, "x": moved})).logits.argmax(1)
    return {METRIC: float((said == batch["label"]).double().mean())}
