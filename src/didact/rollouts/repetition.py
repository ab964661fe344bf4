"""How much completions repeat themselves.

Axis letters: B completions, T positions.
"""

import torch
from torch import Tensor

from didact import hashing


def repetition(input_ids: Tensor, completion_mask: Tensor, *, run: int = 4) -> Tensor:
    """How much of each completion occurred in it before.

    Args:
        input_ids: int64 [B, T].
        completion_mask: bool [B, T], the tokens of the completions, each in one piece.
        run: how many neighbouring tokens are looked at together.

    Returns:
        float32 [B]: the share of the runs of tokens that an earlier run equals; 0 where a completion has none.
    """
    if input_ids.shape[1] < run:
        return torch.zeros(len(input_ids))
    whole = completion_mask.unfold(1, run, 1).all(-1)
    key = torch.zeros_like(whole, dtype=torch.int64)
    for place in range(run):
        key = hashing.mix(key + input_ids[:, place : place + whole.shape[1]])
    # What is no run of the completion gets a key of its own, so that it repeats nothing.
    key = torch.where(whole, key, torch.arange(key.shape[1]) - (1 << 40))
    ordered = key.sort(1).values
    repeats = (ordered[:, 1:] == ordered[:, :-1]).sum(1)
    return repeats / whole.sum(1).clamp(min=1)
