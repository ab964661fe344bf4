"""The posterior of a language model given a reward, as the target of policy optimisation.

The target is pi*(x) = pi0(x) exp(r(x) / beta) / Z, the posterior of the reference given the reward (Korbak, Perez and
Buckley 2022, "RL with KL penalties is better viewed as Bayesian inference"). Axis letters: B completions.
"""

import torch
from torch import Tensor

from didact.errors import check_choice, check_range
from didact.losses.policy.groups import LEAST_SPREAD, group_advantages, group_sum, log_ratio

DIVERGENCES = ("reverse", "forward")
"""KL(pi || pi*), and KL(pi* || pi)."""


def posterior_log_ratio(log_probs: Tensor, reference: Tensor, reward: Tensor, beta: float) -> Tensor:
    """The log-ratio of the target to the policy that sampled each completion, up to log Z.

    Args:
        log_probs: float [B], of whole completions, under the policy that sampled them.
        reference: float [B], under the reference.
        reward: float [B].
        beta: above 0; the reward that is worth a nat.

    Returns:
        float [B], log(pi*(x) / pi(x)) + log Z = log pi0(x) + r(x) / beta - log pi(x).

    Raises:
        ConfigError: beta is not above 0.
    """
    check_range("beta", beta, above=0.0)
    return reward / beta - log_ratio(log_probs, reference)


def log_normaliser(ratio: Tensor, group: Tensor, trust: Tensor | None = None) -> Tensor:
    """Estimate log Z of each prompt from its own completions.

    Args:
        ratio: float [B], see `posterior_log_ratio`; its exponential has the mean Z.
        group: int64 [B], the same for completions of one prompt.
        trust: float [B]; completions with trust 0 are left out.

    Returns:
        As `ratio` [B], the same within each group; -inf for a group without known rewards.
    """
    _, place = group.unique(return_inverse=True)
    known = torch.ones_like(ratio, dtype=torch.bool) if trust is None else trust > 0
    seen = ratio.masked_fill(~known, -torch.inf)
    least = torch.full_like(ratio, torch.finfo(ratio.dtype).min)
    highest = least.scatter_reduce(0, place, seen, "amax")[place]
    mass, count = group_sum((seen - highest).exp(), group), group_sum(known.to(ratio.dtype), group)
    return highest + mass.log() - count.clamp(min=1.0).log()


def running_log_mean(log_mean: Tensor, times: Tensor, log_value: Tensor) -> tuple[Tensor, Tensor]:
    """Update running means that are kept as logarithms, since they range over many orders of magnitude.

    Args:
        log_mean: float [B], the logarithms of the means so far; any value where there is no observation yet.
        times: float [B], the number of observations in each mean.
        log_value: float [B], the logarithms of the new values; -inf is no observation.

    Returns:
        The updated means and numbers, in their dtypes; a mean of nothing is -inf.
    """
    seen = log_value > -torch.inf
    moved = torch.logaddexp(times.log() + log_mean, log_value.to(log_mean)) - (times + 1.0).log()
    times = times + seen
    return torch.where(times > 0, torch.where(seen, moved, log_mean), -torch.inf), times


def posterior_advantages(
    ratio: Tensor,
    group: Tensor,
    trust: Tensor | None = None,
    *,
    divergence: str = "reverse",
    normaliser: Tensor | None = None,
) -> Tensor:
    """Advantages A by which the policy approaches the target.

    The mean of -A times the gradient of a completion's log-probability is the gradient of the divergence. `reverse`,
    the gradient of KL(pi || pi*), is that of reinforcement learning with a KL penalty over beta: A is the ratio, less
    the mean of the other completions of the prompt. `forward`, that of KL(pi* || pi), is distributional policy
    gradients (Khalifa, Elsahar and Dymetman 2021, GDC): A = pi*(x) / pi(x) - 1, whose baseline of 1 (Korbak et al.
    2022, "On reinforcement learning and distribution matching") is the mean of the rest. Either is 0 for every
    completion once the policy is the target.

    Args:
        ratio: float [B], see `posterior_log_ratio`.
        group: int64 [B], the same for completions of one prompt.
        trust: float [B]; completions with trust 0 have the advantage 0, and do not affect the others.
        divergence: `reverse` or `forward`.
        normaliser: float [B], log Z for `forward`; estimated from the completions of the same prompt by default, so
            that their weights are self-normalised.

    Returns:
        float32 [B].

    Raises:
        ConfigError: an unknown divergence.
    """
    check_choice("divergence", divergence, DIVERGENCES)
    if divergence == "reverse":
        return group_advantages(ratio, group, trust, baseline="leave_one_out", scale=False)
    normaliser = log_normaliser(ratio, group, trust) if normaliser is None else normaliser
    apart = ratio - normaliser
    # The mean of equal ratios differs from them by rounding.
    apart = apart.masked_fill(apart.abs() <= LEAST_SPREAD * torch.maximum(ratio.abs(), normaliser.abs()), 0.0)
    advantage = torch.expm1(apart).float()
    return advantage if trust is None else torch.where(trust > 0, advantage, 0.0)
