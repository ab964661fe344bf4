"""The mechanism of `contrastive_distillation`."""

import torch
from torch import Tensor

from didact.mechanisms.checking import Found, above, mechanism
from didact.mechanisms.world import batch, normal, student, teacher, train
from didact.methods.distillation.contrastive_distillation import Config, ContrastiveDistillation

N, D, C = 8, 8, 3


@mechanism(
    world="Tables of features.",
    effect="The embedding of the student's row is nearest to that of the teacher's same row.",
    control="The teacher's rows are shuffled among the examples.",
    breaks=("flip nce_loss", "drop nce_loss", "shuffle nce_loss"),
)
def rows_find_their_own(seed: int) -> Found:
    """The share of rows whose nearest embedding of the other side is their own."""
    rows, mine, theirs = batch(N, C, seed), normal(N, D, seed=seed), normal(N, D, seed=seed + 50)

    def measured(shown: Tensor) -> float:
        config = Config(width=8, sharpness=0.2)
        method = ContrastiveDistillation(config, student(mine, C), teacher(shown, C), rows, N, seed)
        method.step = 0
        train(method, rows, "contrast", steps=1, rate=0.0)
        method.step = 1
        train(method, rows, "contrast", steps=40, rate=0.05)
        with torch.no_grad():
            own = method.student_side(method.learner(rows).features["hidden"])
            other = method.teacher_side(theirs)
        return float(((own @ other.T).argmax(1) == torch.arange(N)).float().mean())

    return Found(effect=measured(theirs), predicted=above(0.75), control=measured(theirs.roll(1, 0)), null=(0.0, 0.5))
