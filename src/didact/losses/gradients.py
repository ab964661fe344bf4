"""Gradients that are computed on the way: carried by a loss, and kept from pulling against each other."""

from collections.abc import Sequence

import torch
from torch import Tensor


def with_gradient(value: Tensor, tensors: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    """A scalar with a given value, whose gradient with respect to some tensors is given too.

    Args:
        value: scalar; its own gradient is dropped.
        tensors: those that get a gradient, such as the parameters of a module.
        gradients: one for each, of its shape.
    """
    pull = [
        ((tensor - tensor.detach()) * gradient.detach()).sum()
        for tensor, gradient in zip(tensors, gradients, strict=True)
    ]
    return value.detach() + torch.stack(pull).sum()


def without_conflict(gradients: Sequence[Tensor], kept: Sequence[Tensor]) -> list[Tensor]:
    """Gradients less what in them points against others (Yu et al. 2020, "Gradient Surgery", PCGrad).

    Where the inner product g · k over all tensors together is negative, g becomes g - (g · k / |k|²) k, so that a step
    along it no longer harms what k is the gradient of.

    Args:
        gradients: g, in several tensors.
        kept: k, tensors of the same shapes; they stay as they are.

    Returns:
        g, with the conflicting part taken out.
    """
    product = torch.stack([(g * k).sum() for g, k in zip(gradients, kept, strict=True)]).sum()
    square = torch.stack([k.square().sum() for k in kept]).sum()
    share = product.clamp(max=0.0) / square.clamp(min=1e-12)
    return [g - share * k for g, k in zip(gradients, kept, strict=True)]
