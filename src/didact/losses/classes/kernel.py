"""Classes by kernel regression: those of the nearest of some labelled examples (Nadaraya 1964, Watson 1964)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from didact.errors import check_range

_LEAST = 1e-12
"""Added to probabilities before the logarithm, as the authors of the Nadaraya-Watson head do."""


def kernel_log_probs(
    queries: Tensor, support: Tensor, labels: Tensor, classes: int, *, allowed: Tensor, temperature: float = 1.0
) -> Tensor:
    """The logarithm of the share of each class among examples, weighted by softmax(-distance / temperature).

    Args:
        queries: float [B, D].
        support: float [S, D].
        labels: int64 [S], in [0, C) where the example is allowed.
        classes: their number, C.
        allowed: bool [B, S], which examples may be used for which query.
        temperature: above 0, of the Euclidean distances.

    Returns:
        float32 [B, C]; the logarithm of a tiny number for a class that no allowed example has.

    Raises:
        ConfigError: the temperature is out of range.
    """
    check_range("temperature", temperature, above=0.0)
    scores = (-torch.cdist(queries.float(), support.float()) / temperature).masked_fill(~allowed, -torch.inf)
    # A query without any allowed example has only infinite scores, whose softmax is not a number.
    weights = torch.where(allowed, scores.masked_fill(~allowed.any(1, keepdim=True), 0.0).softmax(-1), 0.0)
    return (weights @ F.one_hot(labels.clamp(min=0), classes).to(weights) + _LEAST).log()
