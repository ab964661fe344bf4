"""The mechanism of `freematch`."""

import torch

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.world import normal, student
from didact.methods.semi_supervised.freematch import Config, FreeMatch
from didact.types import IGNORE, Batch

ROWS, CLASSES, STEPS = 64, 4, 30


@mechanism(
    world="A student whose answers stay as unsure as they are.",
    effect="The threshold comes to its mean confidence: as many examples pass as lie above their class's share of it.",
    control="A fixed threshold, which none of them reaches.",
    breaks=("drop fixed_gate", "flip self_adaptive_thresholds"),
)
def the_threshold_follows_the_students_confidence(seed: int) -> Found:
    """The share of examples that pass the gate in the end."""
    probs = normal(ROWS, CLASSES, seed=seed).softmax(-1)
    rows = torch.arange(ROWS)
    batch = Batch({"label": torch.full((ROWS,), IGNORE), "id": rows, "row": rows, "weak.row": rows, "strong.row": rows})
    confidence, said = probs.max(-1)
    mean = probs.mean(0)
    expected = (confidence >= confidence.mean() * mean[said] / mean.max()).double().mean()

    def measured(adaptive: bool) -> float:
        method = FreeMatch(Config(adaptive=adaptive, decay=0.5), student(probs.log()), batch)
        for _ in range(STEPS):
            method.statistics.update(probs, torch.ones(ROWS))
        _, gate = method.admit(probs.log())
        return float(gate.mean())

    return Found(effect=measured(True), predicted=near(float(expected)), control=measured(False), null=(0.0, 0.1))
