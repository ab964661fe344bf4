"""Policy losses per token.

Axis letters: N tokens.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from didact.errors import check_range

UNCLIPPED = (1.0, math.inf)
"""Bounds that clip nothing."""


@dataclass(frozen=True, kw_only=True)
class ClipConfig:
    """Options of methods that minimise `ppo_clip_loss`."""

    clip_low: float = 0.2  # how far a token's probability may fall, as a share, before its gradient is cut off
    clip_high: float = 0.2  # how far it may rise

    def __post_init__(self) -> None:
        check_range("clip_low", self.clip_low, at_least=0.0, at_most=1.0)
        check_range("clip_high", self.clip_high, at_least=0.0)

    @property
    def clip(self) -> tuple[float, float]:
        """Both bounds, as the functions of this module take them."""
        return self.clip_low, self.clip_high


def ppo_clip_loss(
    log_probs: Tensor, old_log_probs: Tensor, advantage: Tensor, clip_low: float = 0.2, clip_high: float = 0.2
) -> Tensor:
    """The clipped surrogate loss of proximal policy optimisation (Schulman et al. 2017, equation 7), negated.

    With r the ratio of the current probability to the old one, -min(r A, clip(r, 1 - clip_low, 1 + clip_high) A). Where
    nothing is clipped, its gradient is that of -r A, which at r = 1 is the policy gradient.

    Args:
        log_probs: float [N], differentiable.
        old_log_probs: float [N], of the rollout policy.
        advantage: float [N].
        clip_low: in [0, 1].
        clip_high: at least 0; above `clip_low`, the probability of unlikely tokens may grow faster (DAPO).

    Returns:
        float [N].

    Raises:
        ConfigError: a bound out of its range.
    """
    check_range("clip_low", clip_low, at_least=0.0, at_most=1.0)
    check_range("clip_high", clip_high, at_least=0.0)
    ratio = (log_probs - old_log_probs).exp()
    return -torch.minimum(ratio * advantage, ratio.clamp(1.0 - clip_low, 1.0 + clip_high) * advantage)


def bounded_clip_loss(
    log_ratio: Tensor, advantage: Tensor, clip_low: float = 0.2, clip_high: float = 0.2, *, largest: float = 1000.0
) -> Tensor:
    """`ppo_clip_loss` with bounded ratios (Zhang et al. 2025, StableReinforce's pre-clip).

    The log-ratio is clipped to log `largest` on either side before it is exponentiated. Where an advantage is negative,
    the clipped surrogate has no bound as the ratio rises; with this one, tokens beyond it have no gradient.

    Args:
        log_ratio: float [N], the log-ratio of the current policy to the rollout policy, differentiable.
        advantage: float [N].
        clip_low: see `ppo_clip_loss`; likewise `clip_high`.
        clip_high: see `clip_low`.
        largest: above 1, the largest ratio; its inverse is the smallest.

    Returns:
        float [N].

    Raises:
        ConfigError: an option out of its range.
    """
    check_range("largest", largest, above=1.0)
    bound = math.log(largest)
    bounded = log_ratio.clamp(-bound, bound)
    return ppo_clip_loss(bounded, torch.zeros_like(bounded), advantage, clip_low, clip_high)


def clip_mask(
    log_probs: Tensor, old_log_probs: Tensor, advantage: Tensor, clip_low: float = 0.2, clip_high: float = 0.2
) -> Tensor:
    """Mark the tokens whose gradient `ppo_clip_loss` clips: float [N] of 0 and 1."""
    ratio = (log_probs.detach() - old_log_probs).exp()
    high, low = (ratio > 1.0 + clip_high) & (advantage > 0), (ratio < 1.0 - clip_low) & (advantage < 0)
    return (high | low).float()


def k2_kl(log_probs: Tensor, reference_log_probs: Tensor) -> Tensor:
    """Estimate KL(policy || reference) by half the squared log-ratio of sampled tokens (Schulman 2020, "k2").

    The value is biased, but for tokens sampled from the policy the gradient is that of the divergence.

    Args:
        log_probs: float [N], differentiable.
        reference_log_probs: float [N].

    Returns:
        float [N], in nats, at least 0.
    """
    return 0.5 * (log_probs - reference_log_probs).square()


def k3_kl(log_probs: Tensor, reference_log_probs: Tensor) -> Tensor:
    """Estimate KL(policy || reference) from sampled tokens (Schulman 2020, "k3").

    With d = log reference - log policy, exp(d) - 1 - d: never negative, and unbiased where the token is sampled from
    the policy, as the mean of exp(d) is then 1.

    Args:
        log_probs: float [N], differentiable.
        reference_log_probs: float [N].

    Returns:
        float [N], in nats.
    """
    difference = reference_log_probs - log_probs
    return torch.expm1(difference) - difference


def policy_shaping_loss(log_probs: Tensor, advantage: Tensor, shape: float = 0.1) -> Tensor:
    """The off-policy loss with policy shaping (Yan et al. 2025, LUFFY; Yuan et al. 2025, AMPO).

    For tokens that another model sampled: with p the policy's probability of a token, -p / (p + shape) A. It replaces
    the ratio of p to the other model's probability, which is not needed, and gives unlikely tokens more weight: the
    gradient of log p is weighted by shape p / (p + shape)^2, which is largest at p = shape.

    Args:
        log_probs: float [N], differentiable.
        advantage: float [N].
        shape: above 0.

    Returns:
        float [N].

    Raises:
        ConfigError: a shape out of its range.
    """
    check_range("shape", shape, above=0.0)
    return -torch.sigmoid(log_probs - math.log(shape)) * advantage


def nft_loss(log_ratio: Tensor, right: Tensor, accuracy: Tensor, *, floor: float = 1.0) -> Tensor:
    """The loss of negative-aware fine-tuning (Chen et al. 2025, NFT), by token.

    If the rollout policy solves a prompt with probability r, it is a mixture of a policy of correct completions and one
    of incorrect completions: old = r positive + (1 - r) negative. With R the ratio of the learner, which stands for the
    positive policy, to the rollout policy, the ratio of the negative policy to it is (1 - r R) / (1 - r). Correct
    completions are fitted by the learner, -log R, and incorrect ones by the negative policy,
    -log (1 - r R) / (1 - r).

    Args:
        log_ratio: float [N], log R of each token, differentiable.
        right: float [N], 1 for tokens of correct completions and 0 for those of incorrect ones.
        accuracy: float [N], r, in (0, 1).
        floor: the lowest value of the negative policy's ratio, in (0, 1]; below it the value is the floor, and the
            gradient that of the ratio over the floor (the paper's straight-through maximum). 1 is the paper's choice.

    Returns:
        float [N]. At R = 1, its gradient in log R is -1 for correct tokens and r / (1 - r) for incorrect ones.

    Raises:
        ConfigError: a floor out of range.
    """
    check_range("floor", floor, above=0.0, at_most=1.0)
    ratio = log_ratio.exp()
    negative = (1.0 - accuracy * ratio) / (1.0 - accuracy)
    held = negative + (negative.detach().clamp(min=floor) - negative.detach())
    return torch.where(right > 0, -log_ratio, -held.log())
