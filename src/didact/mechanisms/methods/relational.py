"""The mechanism of `relational`."""

import torch
from torch import Tensor

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.world import batch, normal, student, teacher
from didact.methods.distillation.relational import Config, Relational

N, D, C = 12, 5, 3


def measured(kind: str, seed: int, shift: int) -> float:
    """A term of a student whose features are the teacher's, rotated, made larger, and in another order of rows."""
    rows, theirs = batch(N, C, seed), normal(N, D, seed=seed)
    turn, _ = torch.linalg.qr(normal(D, D, seed=seed + 1))
    mine: Tensor = (3.0 * theirs @ turn).roll(shift, 0)
    method = Relational(Config(distance=1.0, angle=1.0), student(mine, C), teacher(theirs, C), rows)
    return float(method.loss(rows)[kind].mean().detach())


@mechanism(
    world="Tables of features, of which the student's are the teacher's, rotated and made larger.",
    effect="Distances, relative to their mean, are kept by a rotation and a scale, so that their loss is zero.",
    control="The student's rows are in another order.",
    breaks=("drop rkd_distance", "flip rkd_distance", "shuffle rkd_distance"),
)
def distances_survive_a_rotation(seed: int) -> Found:
    """The loss of the distances."""
    return Found(
        effect=measured("distance", seed, 0),
        predicted=near(0.0),
        control=measured("distance", seed, 1),
        null=(0.01, 9.0),
    )


@mechanism(
    world="Tables of features, of which the student's are the teacher's, rotated and made larger.",
    effect="Angles between triples of examples are kept by a rotation and a scale, so that their loss is zero.",
    control="The student's rows are in another order.",
    breaks=("drop rkd_angle", "flip rkd_angle", "shuffle rkd_angle"),
)
def angles_survive_a_rotation(seed: int) -> Found:
    """The loss of the angles."""
    return Found(
        effect=measured("angle", seed, 0), predicted=near(0.0), control=measured("angle", seed, 1), null=(0.01, 9.0)
    )
