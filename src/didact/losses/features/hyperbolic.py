"""Features in the Poincaré ball, where distances grow towards the rim as in a tree.

Of curvature c above 0, the ball has the radius 1 / sqrt(c). With c = 0 there is no ball: features stay as they are, and
distances are 2 - 2 cosine, as in the code of Doan et al. (2024), Hyp-OW, whose formulas these are.

Axis letters: B examples, M centres, D features.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

_RIM = 1e-3
"""How far points stay from the rim, as a share of the radius."""
_LEAST = 1e-12
"""The least squared length, where the gradient of a root would be infinite."""


def to_ball(features: Tensor, *, curvature: float, longest: float) -> Tensor:
    """Features in the ball, by the exponential map at its centre: tanh(sqrt(c) |x|) x / (sqrt(c) |x|).

    Args:
        features: float [B, D].
        curvature: c, at least 0.
        longest: the length to which longer features are cut first.

    Returns:
        float32 [B, D].
    """
    x = features.float()
    length = x.square().sum(-1, keepdim=True).clamp(min=_LEAST).sqrt()
    if not curvature:
        return x
    x, length = x * (longest / length).clamp(max=1.0), length.clamp(max=longest)
    root = curvature**0.5
    return x / length * (root * length).tanh().clamp(max=1.0 - _RIM) / root


def ball_distances(x: Tensor, y: Tensor, *, curvature: float) -> Tensor:
    """Distances in the ball, (2 / sqrt(c)) artanh(sqrt(c) |-x + y|) with Möbius addition.

    Args:
        x: float [B, D], in the ball.
        y: float [M, D], in the ball.
        curvature: c, at least 0.

    Returns:
        float [B, M].
    """
    if not curvature:
        return 2.0 - 2.0 * F.normalize(x, dim=-1) @ F.normalize(y, dim=-1).T
    apart = (x[:, None] - y).square().sum(-1)
    squares = x.square().sum(-1)[:, None] * y.square().sum(-1)
    share = curvature * apart / (1.0 - 2.0 * curvature * x @ y.T + curvature**2 * squares)
    return 2.0 / curvature**0.5 * share.clamp(min=_LEAST, max=1.0 - _RIM**2).sqrt().atanh()


def midpoint_parts(x: Tensor, *, curvature: float) -> Tensor:
    """What is averaged for `midpoint`: the points of the Klein model times their Lorentz factors, and these factors.

    Args:
        x: float [B, D], in the ball.
        curvature: c, at least 0.

    Returns:
        float [B, D + 1].
    """
    klein = 2.0 * x / (1.0 + curvature * x.square().sum(-1, keepdim=True))
    factor = (1.0 - curvature * klein.square().sum(-1, keepdim=True)).rsqrt()
    return torch.cat([factor * (klein if curvature else x), factor], -1)


def midpoint(parts: Tensor, *, curvature: float) -> Tensor:
    """The midpoint of points, from means (or sums) of their `midpoint_parts`, [..., D + 1]; float [..., D].

    It is the origin where all parts are 0.
    """
    klein = parts[..., :-1] / parts[..., -1:].clamp(min=_LEAST)
    return klein / (1.0 + (1.0 - curvature * klein.square().sum(-1, keepdim=True)).sqrt()) if curvature else klein
