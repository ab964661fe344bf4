"""Chance as a function of an example's id, so that no other example, order or machine changes what it drew."""

import torch
from torch import Tensor

from didact import hashing


def uniform(ids: Tensor, count: int, seed: int, purpose: str) -> Tensor:
    """Draw uniformly.

    Args:
        ids: int64 [N].
        count: how many draws each gets, K.
        seed: any integer.
        purpose: what they decide; another one gives unrelated draws.

    Returns:
        float64 [N, K] in [0, 1).
    """
    keys = hashing.keyed_hash(ids, seed, purpose).unsqueeze(-1) + torch.arange(count, device=ids.device)
    return hashing.uniform(keys, seed, f"{purpose}: draws")


def normal(ids: Tensor, count: int, seed: int, purpose: str) -> Tensor:
    """Draw from the standard normal distribution, by its inverse; as `uniform`, but float32."""
    draws = uniform(ids, count, seed, purpose).clamp_(min=2.0**-54)
    return torch.special.ndtri(draws).float()
