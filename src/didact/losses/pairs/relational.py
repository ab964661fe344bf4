"""Relations between the examples of a batch: distances of pairs and angles of triplets.

Everything is computed from the matrix of inner products G [B, B] of the centred representations, so that no tensor of
differences [B, B, D] is needed: |x_i - x_j|² = G_ii + G_jj - 2 G_ij, and the inner product of the two sides that
meet at j is G_ik - G_ij - G_jk + G_jj.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from didact.errors import DataError
from didact.losses._precision import full_precision
from didact.types import Term

COINCIDENT = 1e-6
"""A squared distance below this share of the two squared norms cannot be distinguished from 0 in float32, and is 0."""
TILE = 1 << 18
"""The number of angles that are computed at once: few enough to stay in a processor's cache."""


def rkd_distance(student: Tensor, teacher: Tensor, *, trust: Tensor | None = None) -> Term:
    """RKD-D: match the teacher's distances between examples, in units of their mean (Park et al. 2019).

    Args:
        student: float [B, ...], flattened; B at least 2.
        teacher: float [B, ...], of any width; no gradient flows into it.
        trust: float [B] in [0, 1]; a pair is weighted by the product of its two.

    Returns:
        The sum over all B² ordered pairs (an example with itself included, as in the authors' code) of the Huber loss
        between the two distances, each divided by the mean of the positive ones; and the number of pairs.

    Raises:
        DataError: a batch of one, which has no pairs.
    """
    check_pairs(student)
    weight = None if trust is None else torch.outer(trust, trust).float()
    with torch.no_grad():
        theirs = _unit_distances(_squared_distances(_gram(teacher)), weight)
    mine = _unit_distances(_squared_distances(_gram(student)), weight)
    if weight is None:
        return Term(F.smooth_l1_loss(mine, theirs, reduction="sum"), mine.numel())
    return Term((F.smooth_l1_loss(mine, theirs, reduction="none") * weight).sum(), weight.sum())


def rkd_angle(student: Tensor, teacher: Tensor, *, trust: Tensor | None = None) -> Term:
    """RKD-A: match the teacher's angles between triplets of examples (Park et al. 2019).

    Args:
        student: float [B, ...], flattened; B at least 2.
        teacher: float [B, ...], of any width; no gradient flows into it.
        trust: float [B] in [0, 1]; a triplet is weighted by the product of its three.

    Returns:
        The sum over all B³ ordered triplets (degenerate ones, whose cosine is 0, included, as in the authors' code) of
        the Huber loss between the cosines; and the number of triplets. It can be differentiated once.

    Raises:
        DataError: a batch of one, which has no angles.
    """
    check_pairs(student)
    with torch.no_grad():
        theirs = _gram(teacher)
    total: Any = _AngleLoss.apply(_gram(student), theirs, None if trust is None else trust.float())
    return Term(total, len(student) ** 3 if trust is None else trust.float().sum() ** 3)


def check_pairs(features: Tensor) -> None:
    """Raise `DataError` for a batch of one example, which has no pairs."""
    if len(features) < 2:
        raise DataError(
            f"The batch has {len(features)} example, but relations are between two or more; choose a batch size of at "
            "least 2 that leaves no single example over at the end of a pass."
        )


def _gram(features: Tensor) -> Tensor:
    """Inner products [B, B] of the centred representations, which are accurate where the mean is large."""
    flat = features.float().flatten(1)
    # In double precision, which costs little for B² products and keeps their differences accurate.
    flat = (flat - flat.detach().mean(0)).double()
    with full_precision(flat):
        return (flat @ flat.T).float()


def _squared_distances(gram: Tensor) -> Tensor:
    """[B, B]; exactly 0 where two examples coincide."""
    norms = gram.diagonal()
    norms = norms.unsqueeze(0) + norms.unsqueeze(1)
    squared = norms - 2.0 * gram
    return squared.masked_fill(squared <= COINCIDENT * norms, 0.0)


def _unit_distances(squared: Tensor, weight: Tensor | None) -> Tensor:
    """Distances in units of the mean of the positive ones."""
    apart = squared > 0
    distances = torch.where(apart, squared, 1.0).sqrt() * apart
    counted = apart.float() if weight is None else apart * weight
    mean = (distances.sum() if weight is None else (distances * weight).sum()) / counted.sum().clamp(min=1e-12)
    return distances / mean.clamp(min=1e-12)


class _AngleLoss(torch.autograd.Function):
    """The Huber loss of all cosines, with its gradient computed on the way, one tile of vertices j at a time.

    With W = (dL/dcos) r_i r_k, where r = 1 / distance to the vertex: dL/dG_ik = W_ik, dL/dG_ji = -2 sum_k W_ik,
    dL/dG_jj = sum W; and through the distances, dL/d|x_j - x_i|² = -r_i² sum_k (dL/dcos_ik) cos_ik.
    """

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, trust: Tensor | None) -> Tensor:
        mine, theirs = (_squared_distances(gram) for gram in (student, teacher))
        inverse, inverse_theirs = (torch.where(d > 0, d.clamp(min=1e-38).rsqrt(), 0.0) for d in (mine, theirs))
        by_product, by_side, by_distance = torch.zeros_like(student), torch.empty_like(student), torch.empty_like(mine)
        totals, step = [], max(1, TILE // student.numel())
        for start in range(0, len(student), step):
            j = slice(start, start + step)
            cosines = _cosines(student, inverse, j)
            slope = cosines - _cosines(teacher, inverse_theirs, j)
            slope, total = _huber(slope, trust, j)
            totals.append(total)
            by_distance[j] = (cosines.mul_(slope)).sum(-1)
            slope.mul_(inverse[j].unsqueeze(2)).mul_(inverse[j].unsqueeze(1))
            by_product += slope.sum(0)
            by_side[j] = slope.sum(-1)
        by_distance.mul_(inverse.square())
        through = by_product - 2.0 * by_side + 2.0 * by_distance
        through.diagonal().add_(by_side.sum(1) - by_distance.sum(1) - by_distance.sum(0))
        ctx.save_for_backward(through)
        return torch.stack(totals).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (through,) = ctx.saved_tensors
        return through * gradients[0], None, None


def _cosines(gram: Tensor, inverse: Tensor, j: slice) -> Tensor:
    """Cosines of the angles at each vertex of the tile between i and k: [tile, B, B], 0 where a side has length 0."""
    sides = gram[j] - gram.diagonal()[j].unsqueeze(1)
    products = gram.unsqueeze(0) - sides.unsqueeze(2)
    products -= gram[j].unsqueeze(1)
    return products.mul_(inverse[j].unsqueeze(2)).mul_(inverse[j].unsqueeze(1))


def _huber(difference: Tensor, trust: Tensor | None, j: slice) -> tuple[Tensor, Tensor]:
    """The slope of the Huber loss of a tile, in place, and its sum."""
    bounded = difference.clamp(-1.0, 1.0)
    # The Huber loss is s (d - s / 2), where s is d clipped to [-1, 1].
    losses = difference.sub_(bounded, alpha=0.5).mul_(bounded)
    if trust is None:
        return bounded, losses.sum()
    weight = trust[j].view(-1, 1, 1) * trust.view(1, -1, 1) * trust
    return bounded.mul_(weight), losses.mul_(weight).sum()
