"""The mechanism of `norm_direction`."""

import torch
from torch import Tensor

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.world import batch, coefficient, gradient, normal, student, teacher
from didact.methods.distillation.norm_direction import Config, NormDirection
from didact.types import Batch

N, D, C = 60, 6, 3


@mechanism(
    world="Tables of features; each class of the teacher's has a direction, and the student's features are short.",
    effect="The gradient lengthens the student's feature along the mean of its class: -m / (|m| |t|).",
    control="The classes are shuffled among the examples.",
    breaks=("flip norm_direction", "drop norm_direction", "shuffle ClassMeans.update"),
)
def short_features_grow_along_their_class(seed: int) -> Found:
    """The gradient's coefficient on the closed form."""
    rows = batch(N, C, seed)
    centres = 4.0 * torch.eye(D)[:C]
    theirs, mine = centres[rows["label"]] + normal(N, D, seed=seed), 0.01 * normal(N, D, seed=seed + 50)
    means = torch.stack([theirs[rows["label"] == c].mean(0) for c in range(C)])[rows["label"]]
    closed = -means / means.norm(dim=1, keepdim=True) / theirs.norm(dim=1, keepdim=True) / N
    closed = closed - closed.mean(0)

    def measured(label: Tensor) -> float:
        shown = Batch({**rows, "label": label})
        method = NormDirection(Config(weight=1.0), student(mine, C), teacher(theirs, C), shown)
        method.loss(shown)
        method.after_step()
        found = gradient(method, shown, "direction")
        return coefficient(found - found.mean(0), closed)

    order = torch.randperm(N, generator=torch.Generator().manual_seed(seed))
    return Found(
        effect=measured(rows["label"]),
        predicted=near(1.0, 0.01),
        control=measured(rows["label"][order]),
        null=(-0.4, 0.4),
    )
