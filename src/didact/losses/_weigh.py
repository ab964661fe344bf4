"""Per-example losses as a sum and a count."""

import torch
from torch import Tensor

from didact.types import Term


def weigh(per_example: Tensor, trust: Tensor | None) -> Term:
    """Sum over examples, each weighted by its trust; the count is the total trust.

    Args:
        per_example: float [B].
        trust: float [B] in [0, 1], or None for full trust.
    """
    if trust is None:
        return Term(per_example.sum(), per_example.shape[0], rows=per_example)
    trust = trust.to(per_example.dtype)
    return Term((per_example * trust).sum(), trust.sum(), rows=lambda: per_example.masked_fill(trust == 0, torch.nan))


def blend_rows(*parts: tuple[Tensor, Term]) -> Tensor:
    """The rows of a sum of terms: the weighted mean of their rows.

    Args:
        parts: float [B], weights; and a term with rows.

    Returns:
        float [B]; NaN where all weights are 0.
    """
    rows = [weight * term.rows.nan_to_num() for weight, term in parts if term.rows is not None]
    return torch.stack(rows).sum(0) / torch.stack([weight for weight, _ in parts]).sum(0)
