"""Tokens of texts hidden, left out or swapped, for whole batches; the first token, which may be a mark, stays."""

import torch
from torch import Tensor

DROPPED = 0.1
"""The share of the tokens that `drop` leaves out, as in Wei & Zou (2019)."""
SWAPPED = 0.1
"""The chance of a pair of neighbours to change places in `swap`; as many of the words move in Wei & Zou (2019)."""


def hide(mask: Tensor, rate: float, generator: torch.Generator) -> Tensor:
    """Hide a share of the tokens through the attention mask, int64 [B, T]."""
    kept = torch.rand(mask.shape, generator=generator, device=mask.device) >= rate
    kept[:, 0] = True
    return mask * kept


def drop(ids: Tensor, mask: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Leave out 10% of the tokens; those behind them move up.

    That is the random deletion of Wei & Zou (2019), "EDA: Easy data augmentation techniques for boosting performance on
    text classification tasks", with tokens for words.

    Args:
        ids: int64 [B, T].
        mask: int64 [B, T], 1 where there is a token.
        generator: on their device.

    Returns:
        Ids and mask, as they came; the ids of what was left out lie behind the end, where the mask is 0.
    """
    kept = hide(mask, DROPPED, generator)
    order = kept.argsort(dim=1, descending=True, stable=True)
    return ids.gather(1, order), kept.gather(1, order)


def swap(ids: Tensor, mask: Tensor, generator: torch.Generator) -> Tensor:
    """Let pairs of neighbouring tokens change places, each with a chance of 10%; no token moves twice.

    Departure from the random swap of Wei & Zou (2019): neighbours are swapped, not any two words, so that most of a
    text's order stays.

    Args:
        ids: int64 [B, T].
        mask: int64 [B, T], 1 where there is a token; a token and padding are no pair.
        generator: on their device.

    Returns:
        Ids, int64 [B, T].
    """
    batch, length = ids.shape
    place = torch.arange(length, device=ids.device).expand(batch, -1)
    # Pairs begin at 1, 3, 5 and so on, or at 2, 4, 6.
    first = torch.randint(2, (batch, 1), generator=generator, device=ids.device)
    begins = (place >= 1) & ((place + first) % 2 == 1) & (place < length - 1)
    chosen = begins & (torch.rand(batch, length, generator=generator, device=ids.device) < SWAPPED)
    chosen = chosen & (mask == 1) & (mask.roll(-1, 1) == 1)
    source = place + chosen.long() - chosen.roll(1, 1).long()
    return ids.gather(1, source)
