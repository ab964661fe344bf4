"""Repetition within completions.

Axis letters: B completions, T positions.
"""

import torch
from torch import Tensor

from didact import hashing


def repetition(input_ids: Tensor, completion_mask: Tensor, *, run: int = 4) -> Tensor:
    """The share of each completion that repeats an earlier part of it.

    Args:
        input_ids: int64 [B, T].
        completion_mask: bool [B, T], the tokens of the completions, contiguous in each row.
        run: n, the length of the n-grams.

    Returns:
        float32 [B]: the share of n-grams that occurred before; 0 for a completion without n-grams.
    """
    if input_ids.shape[1] < run:
        return torch.zeros(len(input_ids))
    whole = completion_mask.unfold(1, run, 1).all(-1)
    key = torch.zeros_like(whole, dtype=torch.int64)
    for place in range(run):
        key = hashing.mix(key + input_ids[:, place : place + whole.shape[1]])
    # N-grams outside of the completion get unique keys, so that they repeat nothing.
    key = torch.where(whole, key, torch.arange(key.shape[1]) - (1 << 40))
    ordered = key.sort(1).values
    repeats = (ordered[:, 1:] == ordered[:, :-1]).sum(1)
    return repeats / whole.sum(1).clamp(min=1)
