"""Gradient reversal: what a classifier learns, the features before it unlearn."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from didact.errors import check_range


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        return slopes[0] * -ctx.scale, None


def reverse_gradient(x: Tensor, scale: float = 1.0) -> Tensor:
    """The identity, whose gradient is multiplied by -scale (Ganin and Lempitsky 2015, section 3).

    Args:
        x: any float tensor.
        scale: at least 0.
    """
    found = _Reversal.apply(x, scale)
    assert isinstance(found, Tensor)
    return found


def reversal_schedule(fraction: float, steepness: float = 10.0) -> float:
    """How far the reversal is turned on: 2 / (1 + exp(-steepness · fraction)) - 1 (Ganin and Lempitsky 2015, eq. 14).

    Args:
        fraction: the used share of the budget, in [0, 1].
        steepness: above 0.

    Returns:
        0 at the beginning, and near 1 in the end.
    """
    return 2.0 / (1.0 + math.exp(-steepness * fraction)) - 1.0


class ReversedClassifier(nn.Module):
    """A classifier with one hidden layer that learns from features, which by its gradient unlearn what it needs.

    Args:
        width: of the features, D.
        outputs: the number of classes, K.
        hidden: the width of the hidden layer.
        seed: of the weights.

    Raises:
        ConfigError: a width below 1, or fewer than two classes.
    """

    def __init__(self, width: int, outputs: int, *, hidden: int = 64, seed: int = 0) -> None:
        super().__init__()
        check_range("hidden", hidden, at_least=1)
        check_range("outputs", outputs, at_least=2)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.layers = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, outputs))

    def forward(self, features: Tensor, scale: float) -> Tensor:
        """Logits [B, K] of features [B, D]; the gradient of the features is multiplied by -scale."""
        return self.layers(reverse_gradient(features, scale))
