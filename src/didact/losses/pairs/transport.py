"""Optimal transport between a student's and a teacher's distributions over a batch."""

from typing import Any

import torch
from torch import Tensor

from didact.errors import check_range
from didact.losses._precision import full_precision
from didact.types import Term

LEAST_REGULARISATION = 0.05
"""Below it, the scalings of a plan between distributions leave the range of float32."""


def sinkhorn_plan(cost: Tensor, *, regularisation: float, iterations: int, mass: Tensor | None = None) -> Tensor:
    """The transport plan of Sinkhorn's iterations, starting from exp(-cost / regularisation) (Cuturi 2013).

    Each iteration scales rows, then columns, to the given masses. The gradient flows through all iterations.

    Args:
        cost: float [B, B], 0 or more.
        regularisation: weight of the plan's entropy, above 0; the smaller, the nearer the plan is to the cheapest.
        iterations: the number of iterations, 1 or more.
        mass: float [B], 0 or more: the target sum of each row and of each column; 1 by default.

    Returns:
        float [B, B]; its columns sum to `mass`, its rows approximately.

    Raises:
        ConfigError: the regularisation or the number of iterations is out of range.
    """
    check_range("regularisation", regularisation, above=0.0)
    check_range("iterations", iterations, at_least=1)
    wanted = cost.new_ones(cost.shape[0]) if mass is None else mass
    # The kernel's rows and columns are scaled such that each has an entry of 1, whatever underflows; the iterations
    # start from the inverse of the columns' scale.
    with torch.no_grad():
        rows = cost.amin(1, keepdim=True)
        columns = (cost - rows).amin(0, keepdim=True)
    kernel = torch.exp((rows + columns - cost) / regularisation)
    start = torch.exp(-columns.squeeze(0) / regularisation)
    return _Scaled.apply(kernel, start, wanted, iterations)


class _Scaled(torch.autograd.Function):
    """A kernel scaled by Sinkhorn's iterations.

    The backward pass is written out: the outer products of all iterations are then one matrix product, where autograd
    would add up a matrix for each.
    """

    @staticmethod
    def forward(ctx: Any, kernel: Tensor, start: Tensor, mass: Tensor, iterations: int) -> Tensor:
        """Scale rows, then columns, `iterations` times."""
        tiny = torch.finfo(kernel.dtype).tiny
        lefts, rights, left, right = [], [start], start, start
        transposed = kernel.t()
        for _ in range(iterations):
            left = mass / torch.mv(kernel, right).clamp_min_(tiny)
            right = mass / torch.mv(transposed, left).clamp_min_(tiny)
            lefts.append(left)
            rights.append(right)
        ctx.save_for_backward(kernel, mass, *lefts, *rights)
        return left.unsqueeze(1) * kernel * right

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        """The gradient with respect to the kernel, through all iterations."""
        (grad,) = grads
        kernel, mass, *saved = ctx.saved_tensors
        steps = (len(saved) - 1) // 2
        lefts, rights = saved[:steps], saved[steps:]
        weighted, transposed = grad * kernel, kernel.t()
        to_left, to_right = torch.mv(weighted, rights[-1]), torch.mv(weighted.t(), lefts[-1])
        inverse = torch.where(mass > 0, mass, torch.ones_like(mass)).reciprocal()
        rows, columns = [], []
        for step in range(steps - 1, -1, -1):
            # With s = K'u and v = m / s, dv/ds is -v squared over m; the same for u.
            columns.append(-(to_right * rights[step + 1]) * rights[step + 1] * inverse)
            to_left = torch.addmv(to_left, kernel, columns[-1])
            rows.append(-(to_left * lefts[step]) * lefts[step] * inverse)
            to_right, to_left = torch.mv(transposed, rows[-1]), torch.zeros_like(to_left)
        before = torch.stack(rights[-2::-1], 1)
        outer = torch.stack(lefts[::-1], 1) @ torch.stack(columns) + torch.stack(rows, 1) @ before.t()
        return torch.addcmul(outer, lefts[-1].unsqueeze(1) * grad, rights[-1]), None, None, None


def sinkhorn_distance(
    logits: Tensor,
    teacher_probs: Tensor,
    *,
    temperature: float = 1.0,
    regularisation: float = 0.1,
    iterations: int = 20,
    trust: Tensor | None = None,
) -> Term:
    """The optimal transport cost between a student's and a teacher's predictions for a batch (Cui et al. 2024, SinKD).

    Moving the student's prediction for one example onto the teacher's for another costs the sum of the absolute
    differences of their probabilities; the Sinkhorn plan determines how much is moved where.

    Args:
        logits: the student's, float [B, C].
        teacher_probs: float [B, C], at the same temperature; no gradient flows into them.
        temperature: above 0; divides the student's logits.
        regularisation: see `sinkhorn_plan`; `LEAST_REGULARISATION` or more.
        iterations: see `sinkhorn_plan`.
        trust: float [B] in [0, 1]: the mass of each example on both sides.

    Returns:
        The cost of the plan whose rows and columns have a mass of 1, or of the example's trust; and the total mass. The
        mean is the distance between the two batches as uniform distributions, in [0, 2].
    """
    check_range("temperature", temperature, above=0.0)
    check_range("regularisation", regularisation, at_least=LEAST_REGULARISATION)
    probs = torch.softmax(logits.float() / temperature, -1)
    mass = None if trust is None else trust.to(probs.dtype)
    with full_precision(probs):
        cost = torch.cdist(probs, teacher_probs.detach().float(), p=1.0)
        plan = sinkhorn_plan(cost, regularisation=regularisation, iterations=iterations, mass=mass)
    moved = plan * cost
    count = logits.shape[0] if mass is None else mass.sum()
    return Term(moved.sum(), count, rows=lambda: moved.sum(1) if mass is None else moved.sum(1) / mass)
