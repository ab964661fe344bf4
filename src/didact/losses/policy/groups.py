"""Statistics over groups of completions of the same prompt, and advantages from them.

Axis letters: B completions.
"""

import torch
from torch import Tensor

from didact.errors import check_choice, check_range

LEAST_SPREAD = 1e-6
"""Rewards that differ by less than this share of the largest of them are equal up to rounding."""
LEAST_RATIO = 1e-5
"""Log-probabilities of whole completions that differ by less than this share are equal up to rounding."""
BASELINES = ("none", "mean", "leave_one_out")


def group_sum(values: Tensor, group: Tensor) -> Tensor:
    """Sum over the completions of each prompt.

    Args:
        values: float [B].
        group: int64 [B], the same for completions of one prompt.

    Returns:
        As `values` [B]: for each completion, the figure of its group.
    """
    groups, place = group.unique(return_inverse=True)
    return values.new_zeros(len(groups)).index_add(0, place, values)[place]


def group_mean(values: Tensor, group: Tensor, known: Tensor | None = None) -> Tensor:
    """Average over the completions of each prompt.

    Args:
        values: float [B].
        group: int64 [B], the same for completions of one prompt.
        known: float [B] of 0 and 1: the completions that count; all by default. The mean of none is 0.

    Returns:
        As `values` [B]: for each completion, the figure of its group.
    """
    known = torch.ones_like(values) if known is None else known
    return group_sum(values * known, group) / group_sum(known, group).clamp(min=1.0)


def group_advantages(
    reward: Tensor,
    group: Tensor,
    trust: Tensor | None = None,
    *,
    baseline: str = "mean",
    scale: bool = True,
) -> Tensor:
    """Advantages relative to the other completions of the same prompt.

    Args:
        reward: float [B].
        group: int64 [B], the same for completions of one prompt.
        trust: float [B]; completions with trust 0 (for which every verifier abstained) are left out of their group's
            statistics, and their advantage is 0.
        baseline: the baseline that is subtracted: the group's `mean` (GRPO; Shao et al. 2024), the mean of the others
            (`leave_one_out`, RLOO; Ahmadian et al. 2024), or `none`.
        scale: divide by the group's standard deviation (n - 1), as GRPO does; a group of equal rewards gets 0.

    Returns:
        float32 [B]; exactly 0 in groups whose rewards are all the same (see `dead_groups`), unless the baseline is
        `none` and nothing is scaled.

    Raises:
        ConfigError: an unknown baseline.
    """
    check_choice("baseline", baseline, BASELINES)
    reward = reward.float()
    known = torch.ones_like(reward) if trust is None else (trust > 0).float()
    dead = dead_groups(reward, group, trust) > 0
    count = group_sum(known, group)
    # Equal rewards minus their mean leave rounding errors.
    centred = ((reward - group_mean(reward, group, known)) * known).masked_fill(dead, 0.0)
    if baseline == "none":
        found = reward * known
    elif baseline == "mean":
        found = centred
    else:
        # r - (n m - r) / (n - 1) = n (r - m) / (n - 1).
        found = centred * count / (count - 1.0).clamp(min=1.0)
    if not scale:
        return found
    deviation = (group_sum(centred.square(), group) / (count - 1.0).clamp(min=1.0)).sqrt()
    return torch.where(dead, 0.0, found / deviation.masked_fill(dead, 1.0))


def step_advantages(
    reward: Tensor, step: Tensor, group: Tensor, trust: Tensor | None = None, *, scale: bool = True
) -> Tensor:
    """Advantages of tokens from rewards of steps (Shao et al. 2024, process supervision of GRPO).

    The rewards of all steps of a group are normalised together; the advantage of a token is the sum of those of the
    steps that end with it or later.

    Args:
        reward: float [B, T], at the last token of each step.
        step: bool [B, T], True there.
        group: see `group_advantages`; likewise `trust` and `scale`.
        trust: see `group`.
        scale: see `group`.

    Returns:
        float32 [B, T].
    """
    row, place = step.nonzero(as_tuple=True)
    known = None if trust is None else trust[row]
    found = reward.new_zeros(reward.shape, dtype=torch.float32)
    found[row, place] = group_advantages(reward[row, place], group[row], known, scale=scale)
    return found.flip(1).cumsum(1).flip(1)


def round_advantages(reward: Tensor, trust: Tensor | None = None, *, outlier: float = 3.0) -> Tensor:
    """Advantages relative to all completions of a round, without outliers (Zhang et al. 2025, StableReinforce).

    Rewards less their mean, over their standard deviation (n); where that is beyond `outlier`, the advantage is 0.

    Args:
        reward: float [B].
        trust: float [B]; completions with trust 0 are left out, and their advantage is 0.
        outlier: above 0, in standard deviations.

    Returns:
        float32 [B]; 0 where all rewards are equal.

    Raises:
        ConfigError: an option out of its range.
    """
    check_range("outlier", outlier, above=0.0)
    reward, everything = reward.float(), torch.zeros(len(reward), dtype=torch.int64, device=reward.device)
    known = torch.ones_like(reward) if trust is None else (trust > 0).float()
    dead = dead_groups(reward, everything, trust) > 0
    centred = ((reward - group_mean(reward, everything, known)) * known).masked_fill(dead, 0.0)
    deviation = group_mean(centred.square(), everything, known).sqrt()
    found = centred / deviation.masked_fill(dead, 1.0)
    return found.masked_fill(found.abs() > outlier, 0.0)


def log_ratio(log_probs: Tensor, reference: Tensor) -> Tensor:
    """The log-ratio of two policies; exactly 0 where their log-probabilities are equal up to rounding.

    Args:
        log_probs: float [B], of whole completions.
        reference: float [B], under the other policy.

    Returns:
        As `log_probs` [B], in nats.
    """
    found = log_probs - reference
    return found.masked_fill(found.abs() <= LEAST_RATIO * torch.maximum(log_probs.abs(), reference.abs()), 0.0)


def dead_groups(reward: Tensor, group: Tensor, trust: Tensor | None = None) -> Tensor:
    """Mark the completions of groups whose rewards are all equal, which have no advantage to learn from.

    Rewards are equal where they differ by at most `LEAST_SPREAD` times the largest of them.

    Args:
        reward: float [B].
        group: int64 [B].
        trust: as for `group_advantages`; a group without known rewards is dead too.

    Returns:
        float [B] of 0 and 1.
    """
    _, place = group.unique(return_inverse=True)
    known = torch.ones_like(reward, dtype=torch.bool) if trust is None else trust > 0
    ends = reward.new_full((len(reward),), -torch.inf)
    highest = ends.scatter_reduce(0, place, reward.masked_fill(~known, -torch.inf), "amax")
    lowest = -ends.scatter_reduce(0, place, -reward.masked_fill(~known, torch.inf), "amax")
    largest = torch.maximum(highest.abs(), lowest.abs())
    return (highest - lowest <= LEAST_SPREAD * largest).float()[place]


def failed_groups(correct: Tensor, group: Tensor) -> Tensor:
    """Mark the completions of prompts that no completion solves.

    Args:
        correct: float [B], above 0 for a correct completion.
        group: int64 [B], the same for completions of one prompt.

    Returns:
        bool [B].
    """
    return group_sum((correct > 0).float(), group) == 0


def extremes_of_groups(reward: Tensor, group: Tensor, trust: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The completions with the highest and the lowest reward of each prompt.

    Args:
        reward: float [B].
        group: int64 [B], equal for completions of the same prompt.
        trust: as for `group_advantages`; completions with trust 0 are chosen only if all of their group have it.

    Returns:
        The positions of the best and of the worst, int64 [P] each, by ascending group; of equals, the first.
    """
    known = torch.ones_like(reward, dtype=torch.bool) if trust is None else trust > 0
    found = []
    for ranked in (-reward, reward):
        order = ranked.masked_fill(~known, torch.inf).argsort(stable=True)
        order = order[group[order].argsort(stable=True)]
        ordered = group[order]
        found.append(order[torch.cat([ordered.new_ones(1, dtype=torch.bool), ordered[1:] != ordered[:-1]])])
    return found[0], found[1]
