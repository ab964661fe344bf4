"""How per-example losses become a sum and a count."""

from torch import Tensor

from didact.types import Term


def weigh(per_example: Tensor, trust: Tensor | None) -> Term:
    """Sum over examples, each weighted by its trust; the count is the trust that there was.

    Args:
        per_example: float [B].
        trust: float [B] in [0, 1], or None for full trust.
    """
    if trust is None:
        return Term(per_example.sum(), per_example.shape[0])
    trust = trust.to(per_example.dtype)
    return Term((per_example * trust).sum(), trust.sum())
