"""Losses that pull a representation along a direction."""

import torch
from torch import Tensor
from torch.nn import functional as F

from didact.losses._weigh import weigh
from didact.types import Term

_LEAST_NORM = 1e-12


def norm_direction(student: Tensor, teacher: Tensor, means: Tensor, *, trust: Tensor | None = None) -> Term:
    """How far a student's representation falls short of the teacher's norm in its class's direction.

    1 - s · e / max(|s|, |t|), where e is the direction of the class's mean in the teacher. While the student's vector s
    is shorter than the teacher's t, it grows along e; once it is longer, only its cosine with e counts (Wang et al.
    2023, ND).

    Args:
        student: float [B, D].
        teacher: float [B, D]; no gradient flows into it.
        means: float [B, D], the mean of the teacher's representations of each example's class, of any length; zeros
            where it is not known, which costs 1 and moves nothing. No gradient flows into it.
        trust: float [B] in [0, 1].

    Returns:
        The sum over examples, each in [0, 2]; and how many there were.
    """
    vectors = student.float()
    directions = F.normalize(means.detach().float(), dim=-1, eps=_LEAST_NORM)
    longest = torch.maximum(vectors.norm(dim=-1), teacher.detach().float().norm(dim=-1)).clamp_min(_LEAST_NORM)
    return weigh(1.0 - (vectors * directions).sum(-1) / longest, trust)
