"""The mechanism of `pld`."""

import torch

from didact.mechanisms.checking import Found, above, mechanism
from didact.mechanisms.world import batch, normal, student, table_of, teacher, train
from didact.methods.distillation.pld import PLD, Config

N, C = 24, 5


@mechanism(
    world="Tables of logits.",
    effect="Trained to the end, the student ranks the label first, and then the other classes as the teacher does.",
    control="The teacher's rows are shuffled among the examples.",
    breaks=("flip plackett_luce", "drop plackett_luce", "shuffle plackett_luce"),
)
def classes_are_ranked_as_by_the_teacher(seed: int) -> Found:
    """Kendall's correlation of the two orders, among the classes other than the label."""
    rows, theirs = batch(N, C, seed), normal(N, C, seed=seed)
    ideal = theirs.scatter(1, rows["label"].unsqueeze(1), 10.0)

    def measured(shown: torch.Tensor) -> float:
        method = PLD(Config(), student(torch.zeros(N, C)), teacher(shown))
        train(method, rows, steps=50, rate=0.5)
        mine = table_of(method).detach()
        pairs = [(i, j) for i in range(C) for j in range(i)]
        agree = torch.stack([((mine[:, i] > mine[:, j]) == (ideal[:, i] > ideal[:, j])).float() for i, j in pairs])
        others = torch.stack([(rows["label"] != i) & (rows["label"] != j) for i, j in pairs])
        return float(2.0 * agree[others].mean() - 1.0)

    return Found(effect=measured(theirs), predicted=above(0.9), control=measured(theirs.roll(1, 0)), null=(-0.4, 0.4))
