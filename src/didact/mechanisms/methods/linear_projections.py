"""The mechanism of `linear_projections`."""

import torch
from torch import Tensor

from didact.mechanisms.checking import Found, above, mechanism
from didact.mechanisms.world import normal, student, teacher
from didact.methods.distillation.linear_projections import Config, LinearProjections
from didact.types import Batch

N, D, C = 120, 8, 2


@mechanism(
    world="Teacher's features of two classes, each of which has two clusters that its head does not tell apart.",
    effect="The classes are split along the direction in which their members differ most: subclasses are the clusters.",
    control="The clusters are shuffled among the members.",
    breaks=("skip ClassDirections.update", "skip ClassDirections.accumulate"),
)
def subclasses_are_the_clusters(seed: int) -> Found:
    """How far the share of the first subclass in a class tells the clusters apart: the squared correlation."""
    label, cluster = torch.arange(N) % 2, (torch.arange(N) // 2) % 2
    theirs = 0.3 * normal(N, D, seed=seed)
    theirs[torch.arange(N), label] += 4.0
    theirs[:, 2] += 3.0 * (2.0 * cluster - 1.0)
    told = teacher(theirs, C)
    with torch.no_grad():
        told.learner.get_parameter("module.head.weight").copy_(torch.eye(C, D))
    rows = Batch({"row": torch.arange(N), "id": torch.arange(N), "label": label})
    method = LinearProjections(Config(subclasses=2), student(normal(N, 4, seed=seed), C), told, rows, seed)
    method.fraction = 0.0
    method.loss(rows)
    method.fraction = method.config.gather
    method.after_step()
    first = method.directions(theirs)[torch.arange(N), label, 0]

    def measured(groups: Tensor) -> float:
        found = [torch.corrcoef(torch.stack([first[label == c], groups[label == c].float()]))[0, 1] for c in range(C)]
        return float(torch.stack(found).nan_to_num().square().mean())

    order = torch.randperm(N, generator=torch.Generator().manual_seed(seed))
    return Found(effect=measured(cluster), predicted=above(0.8), control=measured(cluster[order]), null=(0.0, 0.3))
