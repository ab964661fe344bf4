"""The mechanism of `dual_head`."""

import torch

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.world import batch, normal, student, teacher
from didact.methods.distillation.dual_head import Config, DualHead

N, D, C = 16, 5, 4


@mechanism(
    world="Tables of features with a linear head; the labels and the teacher's logits pull the head apart.",
    effect="With two heads, the head that predicts gets the gradient of the labels alone.",
    control="With one head, the logit loss reaches it too.",
    breaks=("drop binary_kl",),
)
def the_predicting_head_follows_the_labels(seed: int) -> Found:
    """The size of the logit loss's gradient at the predicting head, over its size at the features."""
    rows, mine, theirs = batch(N, C, seed), normal(N, D, seed=seed), normal(N, C, seed=seed + 50)

    def measured(heads: int) -> float:
        learner = student(mine, C, seed)
        method = DualHead(Config(heads=heads), learner, teacher(theirs), rows)
        weights = [learner.get_parameter("module.head.weight"), learner.get_parameter("module.table")]
        head, table = torch.autograd.grad(method.loss(rows)["logits"].mean(), weights, allow_unused=True)
        assert table is not None
        return 0.0 if head is None else float(head.norm() / table.norm().clamp_min(1e-12))

    return Found(effect=measured(2), predicted=near(0.0), control=measured(1), null=(0.1, 100.0))
