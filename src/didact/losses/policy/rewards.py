"""Rewards that are lower for longer completions.

Axis letters: B completions.
"""

import torch
from torch import Tensor

from didact.errors import check_range
from didact.losses.policy.groups import LEAST_SPREAD, group_mean


def penalise_length(
    reward: Tensor,
    correct: Tensor,
    length: Tensor,
    group: Tensor,
    *,
    strength: float = 0.2,
    where: Tensor | None = None,
) -> Tensor:
    """Lower the reward of correct completions that are longer than other correct ones of their prompt.

    The reward of a correct completion is multiplied by 1 - strength sigmoid((length - mean) / deviation) (Arora &
    Zanette 2025), with the mean and the standard deviation (n) of the lengths of the correct completions of the same
    prompt; by 1 - strength / 2 where their lengths do not differ. Incorrect completions keep their reward.

    Args:
        reward: float [B].
        correct: float [B] of 0 and 1.
        length: float [B], in tokens.
        group: int64 [B], the same for completions of one prompt.
        strength: in [0, 1]; the largest share of its reward that a correct completion loses.
        where: bool [B], the completions that are penalised; all by default.

    Returns:
        float [B].

    Raises:
        ConfigError: a strength out of range.
    """
    check_range("strength", strength, at_least=0.0, at_most=1.0)
    mean = group_mean(length.float(), group, correct)
    centred = length.float() - mean
    deviation = group_mean(centred.square(), group, correct).sqrt()
    same = deviation <= LEAST_SPREAD * mean
    ranked = torch.where(same, 0.0, centred / deviation.masked_fill(same, 1.0))
    penalised = reward * (1.0 - strength * ranked.sigmoid() * correct)
    return penalised if where is None else torch.where(where, penalised, reward)


def overlong_penalty(length: Tensor, longest: int, share: float = 0.2) -> Tensor:
    """The soft punishment of long completions (Yu et al. 2025, DAPO, equation 13).

    0 up to (1 - share) longest tokens, and from there falling linearly to -1 at `longest`.

    Args:
        length: float or int [B], in tokens.
        longest: the largest length.
        share: in (0, 1], the part of `longest` in which the penalty falls.

    Returns:
        float32 [B], in [-1, 0].

    Raises:
        ConfigError: a share out of range.
    """
    check_range("share", share, above=0.0, at_most=1.0)
    cache = share * longest
    return ((longest - cache - length.float()) / cache).clamp(-1.0, 0.0)
