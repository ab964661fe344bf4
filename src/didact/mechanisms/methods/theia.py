"""The mechanism of `theia`."""

import torch
from torch import Tensor

from didact.mechanisms.checking import Found, above, mechanism
from didact.mechanisms.world import batch, normal, student, teacher, train
from didact.methods.distillation.theia import Config, Theia
from didact.teachers import Committee

N, D, C = 24, 12, 3


@mechanism(
    world="A student and two teachers of other widths, all tables of features.",
    effect="One representation comes to hold what both teachers say: a translator finds each of them in it.",
    control="The teachers' rows are shuffled among the examples.",
    breaks=("flip feature_cosine", "drop feature_cosine", "shuffle feature_cosine"),
)
def one_representation_holds_both_teachers(seed: int) -> Found:
    """The smaller of the mean cosines of the translations and the teachers' features."""
    rows = batch(N, C, seed)
    theirs = [normal(N, width, seed=seed + width) for width in (3, 5)]

    def measured(shown: list[Tensor]) -> float:
        committee = Committee([teacher(one, C) for one in shown])
        method = Theia(Config(cosine=1.0), student(normal(N, D, seed=seed), C), committee, rows, seed)
        method.fraction = 0.0
        method.loss(rows)
        method.after_step()
        train(method, rows, "cosine_0", "cosine_1", steps=60, rate=0.1)
        with torch.no_grad():
            mine = method.learner(rows).features["hidden"]
            said = [translate(mine) for translate in method.translators]
        ideal = [(one - one.mean(0)) / one.std(0) for one in theirs]
        return min(float(torch.cosine_similarity(a, b).mean()) for a, b in zip(said, ideal, strict=True))

    return Found(
        effect=measured(theirs),
        predicted=above(0.9),
        control=measured([one.roll(1, 0) for one in theirs]),
        null=(-0.4, 0.4),
    )
