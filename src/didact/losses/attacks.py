"""Adversarial perturbations: small changes of an input, or of hidden numbers, that raise a loss."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from didact.errors import check_choice

Norm = Literal["linf", "l2"]
NORMS: tuple[Norm, ...] = ("linf", "l2")
"""How the size of a change is measured: by its largest number, or by its Euclidean length."""
_LEAST = 1e-10
"""Added to lengths before division, as torchattacks does."""


def attack(
    x: Tensor,
    loss: Callable[[Tensor], Tensor],
    *,
    radius: float | Tensor,
    step: float | Tensor,
    steps: int,
    norm: Norm = "linf",
    bounds: tuple[float, float] | None = None,
    start: bool = True,
) -> Tensor:
    """Raise a loss by projected gradient steps within a ball around each example (PGD; Madry et al. 2018).

    Each step goes along the sign of the gradient, or along the gradient at unit length, and what leaves the ball or the
    bounds is put back. One step of size `radius` without a random start is FGSM (Goodfellow, Shlens & Szegedy 2015).
    The random start is even in the cube, or at an even share of the radius in an even direction.

    Args:
        x: float [B, ...].
        loss: from inputs like `x` to the sum of the losses of the examples, each of which depends on its own input.
        radius: of the ball, in the norm; one for all, or one for each example, such as [B, 1, 1, 1].
        step: the size of a step, in the norm; likewise.
        steps: how many.
        norm: one of `NORMS`.
        bounds: the least and the largest value of an input; None for no bounds.
        start: begin at random, by torch's global generator, instead of at `x`.

    Returns:
        As `x`, without a gradient.

    Raises:
        ConfigError: an unknown norm.
    """
    check_choice("norm", norm, NORMS)
    x = x.detach()
    moved = x + _drawn(x, radius, norm) if start else x
    moved = _inside(x, moved, radius, norm, bounds)
    for _ in range(steps):
        moved = moved.detach().requires_grad_()
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(loss(moved), moved)
        along = slope.sign() if norm == "linf" else slope / (_lengths(slope) + _LEAST)
        moved = _inside(x, moved.detach() + step * along, radius, norm, bounds)
    return moved.detach()


def _drawn(x: Tensor, radius: float | Tensor, norm: Norm) -> Tensor:
    if norm == "linf":
        return (2.0 * torch.rand_like(x) - 1.0) * radius
    direction = torch.randn_like(x)
    share = torch.rand_like(x.flatten(1)[:, :1]).view(-1, *[1] * (x.ndim - 1))
    return direction * (share * radius / (_lengths(direction) + _LEAST))


def _inside(x: Tensor, moved: Tensor, radius: float | Tensor, norm: Norm, bounds: tuple[float, float] | None) -> Tensor:
    change = moved - x
    if norm == "linf":
        change = torch.minimum(change.abs(), torch.as_tensor(radius)) * change.sign()
    else:
        change = change * (radius / (_lengths(change) + _LEAST)).clamp(max=1.0)
    return x + change if bounds is None else (x + change).clamp(*bounds)


def _lengths(x: Tensor) -> Tensor:
    """The Euclidean length of each example, float [B, 1, ...]."""
    return x.flatten(1).norm(dim=1).view(-1, *[1] * (x.ndim - 1))
