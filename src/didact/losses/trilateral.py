"""What a student, its teacher, the label and the teacher's usual answer for that label look like to each other."""

import torch
from torch import Tensor
from torch.nn import functional as F


def trilateral_edges(student: Tensor, teacher: Tensor, labels: Tensor, class_means: Tensor) -> Tensor:
    """The edges of two triangles (Hu et al. 2024): student, teacher, label; student, mean teacher of the class, label.

    Args:
        student: probabilities, float [B, C]; no gradient flows through any of the arguments.
        teacher: probabilities, float [B, C].
        labels: int64 [B], none missing.
        class_means: the teacher's mean probabilities for the examples of each class, float [C, C].

    Returns:
        float [B, 5 C]: teacher - student, label - student, label - teacher, mean - student, label - mean, where the
        label is one-hot.
    """
    student, teacher = student.detach().float(), teacher.detach().float()
    label, mean = F.one_hot(labels, student.shape[-1]).to(student.dtype), class_means.detach()[labels]
    return torch.cat([teacher - student, label - student, label - teacher, mean - student, label - mean], -1)
