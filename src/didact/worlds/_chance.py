"""Random draws as a function of an example's id, independent of other examples, order and machine."""

import torch
from torch import Tensor

from didact import hashing


def uniform(ids: Tensor, count: int, seed: int, purpose: str) -> Tensor:
    """Draw uniform numbers.

    Args:
        ids: int64 [N].
        count: the number of draws per id, K.
        seed: any integer.
        purpose: the purpose of the draws; another one gives independent draws.

    Returns:
        float64 [N, K] in [0, 1).
    """
    keys = hashing.keyed_hash(ids, seed, purpose).unsqueeze(-1) + torch.arange(count, device=ids.device)
    return hashing.uniform(keys, seed, f"{purpose}: draws")


def normal(ids: Tensor, count: int, seed: int, purpose: str) -> Tensor:
    """Draw from the standard normal distribution, by inversion; like `uniform`, but float32."""
    draws = uniform(ids, count, seed, purpose).clamp_(min=2.0**-54)
    return torch.special.ndtri(draws).float()
