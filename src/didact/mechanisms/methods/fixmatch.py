"""The mechanism of `fixmatch`."""

import torch
from torch import Tensor

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.world import gradient, student
from didact.methods.semi_supervised.fixmatch import Config, FixMatch
from didact.types import IGNORE, Batch
from didact.worlds.planted.pool import pool

LEAST = 0.9
"""The threshold of the gate."""


def precision(confidence: Tensor, said: Tensor, truth: Tensor) -> float:
    """The share of right pseudo-labels among those that are learned: the only column with a negative gradient."""
    others = (1.0 - confidence) / int(truth.max())
    probs = others[:, None].repeat(1, int(truth.max()) + 1).scatter(1, said[:, None], confidence[:, None])
    rows = torch.arange(len(truth))
    batch = Batch({"label": torch.full_like(truth, IGNORE), "id": rows, "weak.row": rows, "strong.row": rows})
    slope = gradient(FixMatch(Config(threshold=LEAST), student(probs.log())), batch, "pseudo")
    learned = slope.amin(-1) < 0
    return float((slope.argmin(-1) == truth)[learned].double().mean())


@mechanism(
    world="The pool of near-duplicates, answered with a confidence that is the chance of being right.",
    effect="The precision of what passes the gate is 1 - E[error | confidence > threshold].",
    control="The confidences are permuted, so that as many pass, right or wrong.",
    breaks=("shuffle fixed_gate", "drop fixed_gate"),
)
def what_passes_the_gate_is_as_right_as_it_is_confident(seed: int) -> Found:
    """The precision of the pseudo-labels that are learned."""
    truth = pool().tensors["label"]
    chance = torch.Generator().manual_seed(seed)
    confidence = 0.5 + 0.5 * torch.rand(len(truth), generator=chance)
    right = torch.rand(len(truth), generator=chance) < confidence
    said = torch.where(right, truth, (truth + 1) % (int(truth.max()) + 1))
    permuted = confidence[torch.randperm(len(truth), generator=chance)]
    return Found(
        effect=precision(confidence, said, truth),
        predicted=near(float(right[confidence > LEAST].double().mean())),
        control=precision(permuted, said, truth),
        null=(0.7, 0.8),
    )
