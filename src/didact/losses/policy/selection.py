"""Selection of the completions and tokens that a policy learns from.

Axis letters: B completions, N tokens.
"""

import math

import torch
from torch import Tensor

from didact.errors import check_range
from didact.losses.policy.groups import group_mean


def max_variance_subset(values: Tensor, count: int) -> Tensor:
    """The subset of a given size with the highest variance.

    It always consists of some of the lowest values and some of the highest, so that only the splits of the size
    between them are compared.

    Args:
        values: float [B].
        count: the size, from 1 to B.

    Returns:
        int64 [count], their indices, ascending. Among equal values, earlier ones count as lower; among equal subsets,
        the one with more of the highest values is chosen.

    Raises:
        ConfigError: a count out of its range.
    """
    check_range("count", count, at_least=1, at_most=len(values))
    order = values.argsort(stable=True)
    # A cyclic window of the sorted values: row k has the k lowest and the count - k highest.
    low = torch.arange(count + 1, device=values.device)[:, None]
    place = (torch.arange(count, device=values.device)[None] + low - count) % len(values)
    variance = values.double()[order][place].var(1, correction=0)
    return order[place[variance.argmax()]].sort().values


def informative_tokens(advantage: Tensor, entropy: Tensor, share: float, weight: Tensor | None = None) -> Tensor:
    """Mark the tokens with the highest |advantage| · entropy.

    Args:
        advantage: float [N].
        entropy: float [N], of the distribution that each token was drawn from.
        share: the share of the counted tokens that is chosen, rounded up; in [0, 1].
        weight: float [N] of 0 and 1, what counts; None for all.

    Returns:
        float [N] of 0 and 1, without a gradient.

    Raises:
        ConfigError: a share out of its range.
    """
    check_range("share", share, at_least=0.0, at_most=1.0)
    worth = (advantage.abs() * entropy).detach()
    counted = torch.ones_like(worth) if weight is None else weight
    worth = worth.masked_fill(counted == 0, -1.0)
    rank = worth.argsort(descending=True, stable=True).argsort()
    return (rank < share * counted.sum()).float() * counted


def token_covariances(log_probs: Tensor, advantage: Tensor, weight: Tensor | None = None) -> Tensor:
    """Each token's contribution to the covariance of log-probability and advantage, which drives the entropy's decline.

    Under a step of natural policy gradient, the entropy of a softmax policy changes by about minus this covariance
    times the step size (theorem 2 of the paper): likely tokens with a positive advantage, and unlikely ones with a
    negative one, lower it.

    Args:
        log_probs: float [N].
        advantage: float [N].
        weight: float [N] of 0 and 1, what counts; None for all.

    Returns:
        float [N], (log_prob - mean) (advantage - mean), without a gradient; 0 where nothing counts.
    """
    log_probs = log_probs.detach()
    if weight is None:
        return (log_probs - log_probs.mean()) * (advantage - advantage.mean())
    count = weight.sum().clamp(min=1.0)
    centred = [values - (values * weight).sum() / count for values in (log_probs, advantage)]
    return centred[0] * centred[1] * weight


def sample_in_band(
    values: Tensor, share: float, low: float, high: float, draws: Tensor, weight: Tensor | None = None
) -> Tensor:
    """Sample tokens whose value lies in a band.

    Args:
        values: float [N].
        share: the share of the tokens with weight that is chosen (fewer where the band has fewer; at least one); in
            [0, 1].
        low: the band's lower end.
        high: its upper end.
        draws: float [N] in [0, 1), uniform; the lowest are chosen.
        weight: float [N] of 0 and 1, which tokens count; None for all.

    Returns:
        bool [N].
    """
    counted = torch.ones_like(values, dtype=torch.bool) if weight is None else weight > 0
    inside = (values >= low) & (values <= high) & counted
    return inside & top_share(-draws, share, counted, among=inside)


def mastered_tokens(
    log_probs: Tensor, entropy: Tensor, right: Tensor, *, sure: float = 0.99, target: float = 0.2
) -> Tensor:
    """Mark the tokens of right completions that the policy is sure of, where its entropy is low.

    Learning them again makes the distribution sharper and teaches nothing (Du et al. 2025, UloRL, equations 9 and 10).

    Args:
        log_probs: float [N], current.
        entropy: float [N], the mean entropy of the tokens of each token's completion, in nats.
        right: float [N], the reward of each token's completion; 1 or more is right.
        sure: in (0, 1), the least probability of a token that is mastered.
        target: at least 0, the entropy from which on nothing is marked.

    Returns:
        float [N] of 0 and 1.

    Raises:
        ConfigError: an option out of its range.
    """
    check_range("sure", sure, above=0.0, below=1.0)
    check_range("target", target, at_least=0.0)
    return ((log_probs.detach() >= math.log(sure)) & (entropy.detach() < target) & (right >= 1.0)).float()


def top_share(values: Tensor, share: float, weight: Tensor | None = None, *, among: Tensor | None = None) -> Tensor:
    """Mark the tokens with the highest values.

    Args:
        values: float [N].
        share: the share of the tokens with weight that is chosen, rounded down, but at least one; 0 chooses none.
        weight: [N], above 0 for the tokens that count; None for all.
        among: bool [N], the candidates; by default all tokens that count.

    Returns:
        bool [N].
    """
    check_range("share", share, at_least=0.0, at_most=1.0)
    counted = torch.ones_like(values, dtype=torch.bool) if weight is None else weight > 0
    able = counted if among is None else among & counted
    # A tensor, so that no step waits for the device.
    wanted = (share * counted.sum()).floor().clamp(min=1.0) if share else 0
    ranked = values.masked_fill(~able, -torch.inf).argsort(descending=True, stable=True).argsort()
    return able & (ranked < wanted)


def best_of_group(score: Tensor, group: Tensor, count: int) -> Tensor:
    """Mark the completions with the highest scores of each prompt.

    Args:
        score: float [B].
        group: int64 [B], the same for completions of one prompt.
        count: the number per prompt, at least 1; all where there are fewer. Among ties, the first.

    Returns:
        bool [B].

    Raises:
        ConfigError: a count out of its range.
    """
    check_range("count", count, at_least=1)
    order = score.argsort(descending=True, stable=True)
    order = order[group[order].argsort(stable=True)]
    ordered = group[order]
    start = torch.searchsorted(ordered, ordered)
    chosen = torch.arange(len(score), device=score.device) - start < count
    return torch.zeros_like(chosen).index_copy(0, order, chosen)


def most_accurate_groups(correct: Tensor, group: Tensor, share: float) -> Tensor:
    """Mark the completions of the prompts with the highest accuracy.

    Args:
        correct: float [B] of 0 and 1.
        group: int64 [B], the same for completions of one prompt.
        share: the share of prompts that is chosen, rounded up; in [0, 1]. Among prompts of equal accuracy, those with
            the lower number in `group` come first.

    Returns:
        bool [B].

    Raises:
        ConfigError: a share out of its range.
    """
    check_range("share", share, at_least=0.0, at_most=1.0)
    known, place = group.unique(return_inverse=True)
    right = torch.zeros(len(known), device=group.device).index_copy(0, place, group_mean(correct, group))
    rank = right.argsort(descending=True, stable=True).argsort()
    return (rank < share * len(known))[place]
