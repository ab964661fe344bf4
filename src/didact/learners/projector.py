"""Projectors from a student's features to the shape of a teacher's."""

from collections.abc import Sequence

import torch
from torch import nn

from didact.errors import ConfigError


def projector(student: Sequence[int], teacher: Sequence[int], *, seed: int = 0, identity: bool = False) -> nn.Module:
    """A linear map from a student's features to the shape of a teacher's, freshly initialised.

    It is a linear layer for vectors [D], and for [T, D] by token; for maps [C, H, W] an unpadded convolution whose
    kernel makes the heights and widths equal (Romero et al. 2015, FitNets, section 2.2).

    Args:
        student: the shape of the student's features, without the batch.
        teacher: the shape of the teacher's.
        seed: of the weights.
        identity: return `nn.Identity` where the shapes are equal.

    Raises:
        ConfigError: no such map connects the two shapes.
    """
    student, teacher = tuple(student), tuple(teacher)
    if identity and student == teacher:
        return nn.Identity()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if len(student) == len(teacher) in (1, 2) and student[:-1] == teacher[:-1]:
            return nn.Linear(student[-1], teacher[-1])
        if len(student) == len(teacher) == 3 and student[1] >= teacher[1] and student[2] >= teacher[2]:
            kernel = (student[1] - teacher[1] + 1, student[2] - teacher[2] + 1)
            return nn.Conv2d(student[0], teacher[0], kernel)
    raise ConfigError(
        f"The student's features have the shape {list(student)} and the teacher's {list(teacher)}, which no projector "
        "joins; tap other modules, such that both are vectors, or both tokens of one length, or both maps of which the "
        "student's is at least as high and wide."
    )


def projection_head(inputs: int, outputs: int, *, seed: int = 0) -> nn.Sequential:
    """Two linear layers with ReLU between, whose outputs are contrasted (Chen et al. 2020).

    Args:
        inputs: numbers of a representation, also those of the layer between.
        outputs: numbers of what is contrasted.
        seed: of the weights.
    """
    first, last = (projector((inputs,), (size,), seed=seed) for size in (inputs, outputs))
    return nn.Sequential(first, nn.ReLU(), last)
