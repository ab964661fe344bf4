"""Activation-based attention maps, and the loss that transfers them."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from didact.errors import ConfigError
from didact.losses._weigh import weigh
from didact.types import Term


class _SumOfSquares(torch.autograd.Function):
    """The sum of squares along a dimension; its gradient takes one pass over the input, autograd's takes four."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, dim: int) -> Tensor:
        ctx.save_for_backward(features)
        ctx.dim = dim
        return features.square().sum(dim)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (features,) = ctx.saved_tensors
        return features * (2.0 * gradients[0]).unsqueeze(ctx.dim), None


def attention_map(features: Tensor) -> Tensor:
    """The activation-based spatial attention F_sum^2 of Zagoruyko & Komodakis (2017, section 3.1), normalised.

    Args:
        features: float [B, C, H, W], maps; or [B, T, D], tokens.

    Returns:
        float32 [B, H · W] or [B, T]: at each position, the sum over channels of the squared activations, divided by the
        Euclidean norm over the positions.

    Raises:
        ConfigError: features without positions.
    """
    if features.ndim not in (3, 4):
        raise ConfigError(
            f"Features of the shape {list(features.shape)} have no positions to attend to; tap a module that gives "
            "maps [B, C, H, W] or tokens [B, T, D]."
        )
    energy: Any = _SumOfSquares.apply(features.float(), 1 if features.ndim == 4 else 2)
    return F.normalize(energy.flatten(1), dim=1)


def attention_transfer(student: Tensor, teacher: Tensor, *, trust: Tensor | None = None) -> Term:
    """The squared distance between two nets' normalised attention maps.

    Equation 2 of the paper has the distance itself, whose gradient does not vanish as the maps converge; the authors'
    published code has this one, divided by the number of positions.

    Args:
        student: float [B, C, H, W] or [B, T, D].
        teacher: with the same positions; channels and widths may differ. No gradient flows into it.
        trust: float [B] in [0, 1].

    Returns:
        The sum over examples of the squared difference, summed over positions; in [0, 2] for each.

    Raises:
        ConfigError: features without positions, or with other positions than the teacher's.
    """
    if student.ndim != teacher.ndim or _positions(student) != _positions(teacher):
        raise ConfigError(
            f"The student's features are {list(student.shape)} and the teacher's {list(teacher.shape)}; attention can "
            "be transferred only between maps of the same height and width, or equally many tokens."
        )
    mine, theirs = attention_map(student), attention_map(teacher.detach())
    if trust is None:
        total = F.mse_loss(mine, theirs, reduction="sum")
        return Term(total, len(mine), rows=lambda: (mine - theirs).square().sum(1))
    return weigh((mine - theirs).square().sum(1), trust)


def _positions(features: Tensor) -> tuple[int, ...]:
    return tuple(features.shape[2:] if features.ndim == 4 else features.shape[1:-1])
