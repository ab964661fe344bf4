"""The mechanism of `supervised`."""

import torch

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.world import batch, coefficient, gradient, normal, student
from didact.methods.supervised.supervised import Config, Supervised
from didact.types import IGNORE, Batch

N, C = 60, 4


@mechanism(
    world="A student that is a table of logits, with labels for half of the examples.",
    effect="The labelled examples are learned, each by the probabilities less one for its label, over their number.",
    control="The labels are those of other examples.",
    breaks=("flip label_loss", "drop label_loss"),
)
def labels_are_learned(seed: int) -> Found:
    """The gradient's coefficient on what the labels add to it."""
    rows, table = batch(N, C, seed), normal(N, C, seed=seed)
    known = (torch.arange(N) % 2 == 0).float().unsqueeze(1)
    onehot = torch.zeros(N, C).scatter(1, rows["label"].unsqueeze(1), 1.0)
    closed = -known * (onehot - (known * onehot).sum(0) / known.sum()) / known.sum()

    def measured(label: torch.Tensor) -> float:
        seen = Batch({**rows, "label": torch.where(known.squeeze(1) > 0, label, IGNORE)})
        found = gradient(Supervised(Config(), student(table)), seen)
        return coefficient(found - known * table.softmax(1) / known.sum(), closed)

    label = rows["label"]
    return Found(effect=measured(label), predicted=near(1.0), control=measured(label.roll(2)), null=(-0.4, 0.4))
