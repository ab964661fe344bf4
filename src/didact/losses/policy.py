"""Learning from rewards and preferences: what a policy's log-probabilities are asked to do.

Axis letters: B attempts, N tokens, P pairs, G groups (the attempts at one question).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from didact.errors import check_choice, check_range

LEAST_DEVIATION = 1e-6
"""Standard deviations of rewards below this are taken for none: the group says nothing."""
BASELINES = ("none", "mean", "leave_one_out")


def surrogate(
    log_probs: Tensor, old_log_probs: Tensor, advantage: Tensor, clip_low: float = 0.2, clip_high: float = 0.2
) -> Tensor:
    """The clipped surrogate loss of proximal policy optimisation (Schulman et al. 2017, equation 7), negated.

    With r the ratio of the probabilities now and then, -min(r A, clip(r, 1 - clip_low, 1 + clip_high) A). Where nothing
    is clipped, its gradient is that of -r A, which at r = 1 is the policy gradient.

    Args:
        log_probs: float [N], differentiable.
        old_log_probs: float [N], of the policy that acted.
        advantage: float [N].
        clip_low: in [0, 1].
        clip_high: at least 0; above `clip_low`, unlikely tokens may grow faster than likely ones shrink (DAPO).

    Returns:
        float [N].

    Raises:
        ConfigError: a bound out of its range.
    """
    check_range("clip_low", clip_low, at_least=0.0, at_most=1.0)
    check_range("clip_high", clip_high, at_least=0.0)
    ratio = (log_probs - old_log_probs).exp()
    return -torch.minimum(ratio * advantage, ratio.clamp(1.0 - clip_low, 1.0 + clip_high) * advantage)


def clipped_share(
    log_probs: Tensor, old_log_probs: Tensor, advantage: Tensor, clip_low: float = 0.2, clip_high: float = 0.2
) -> Tensor:
    """Which tokens' gradient `surrogate` has cut off: float [N] of 0 and 1."""
    ratio = (log_probs.detach() - old_log_probs).exp()
    high, low = (ratio > 1.0 + clip_high) & (advantage > 0), (ratio < 1.0 - clip_low) & (advantage < 0)
    return (high | low).float()


def kl_estimate(log_probs: Tensor, reference_log_probs: Tensor) -> Tensor:
    """An estimate of KL(policy || reference) from a sampled token (Schulman 2020, "k3").

    With d = log reference - log policy, exp(d) - 1 - d: never negative, and unbiased where the token comes from the
    policy, as the mean of exp(d) is then 1.

    Args:
        log_probs: float [N], differentiable.
        reference_log_probs: float [N].

    Returns:
        float [N], in nats.
    """
    difference = reference_log_probs - log_probs
    return torch.expm1(difference) - difference


def group_sum(values: Tensor, group: Tensor) -> Tensor:
    """The sum over all attempts at the same question, at each of them.

    Args:
        values: float [B].
        group: int64 [B], the same for attempts at one question.

    Returns:
        As `values` [B].
    """
    groups, place = group.unique(return_inverse=True)
    return values.new_zeros(len(groups)).index_add(0, place, values)[place]


def group_mean(values: Tensor, group: Tensor, known: Tensor | None = None) -> Tensor:
    """The mean over all attempts at the same question, at each of them.

    Args:
        values: float [B].
        group: int64 [B], the same for attempts at one question.
        known: float [B] of 0 and 1: the attempts that count; all by default. Where none does, the mean is 0.

    Returns:
        As `values` [B].
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
    """How much better each attempt is than the other attempts at the same question.

    Args:
        reward: float [B].
        group: int64 [B], the same for attempts at one question.
        trust: float [B]; attempts with trust 0 (of which no verifier could tell) count for nothing: they are left out
            of their group's figures, and their advantage is 0.
        baseline: what is subtracted: the group's `mean` (GRPO; Shao et al. 2024), the mean of the others
            (`leave_one_out`, RLOO; Ahmadian et al. 2024), or `none`.
        scale: divide by the group's standard deviation (of a sample, n - 1), as GRPO does. A group without any gets 0.

    Returns:
        float32 [B]; 0 in groups of one, unless the baseline is `none`.

    Raises:
        ConfigError: another baseline.
    """
    check_choice("baseline", baseline, BASELINES)
    reward = reward.float()
    known = torch.ones_like(reward) if trust is None else (trust > 0).float()
    count = group_sum(known, group)
    centred = (reward - group_mean(reward, group, known)) * known
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
    return torch.where(deviation > LEAST_DEVIATION, found / deviation.clamp(min=LEAST_DEVIATION), 0.0)


def dead_groups(reward: Tensor, group: Tensor, trust: Tensor | None = None) -> Tensor:
    """Which attempts belong to a group whose rewards are all the same, so that nothing can be learned from comparing.

    Args:
        reward: float [B].
        group: int64 [B].
        trust: as for `group_advantages`; a group of which nothing is known is dead too.

    Returns:
        float [B] of 0 and 1.
    """
    _, place = group.unique(return_inverse=True)
    known = torch.ones_like(reward, dtype=torch.bool) if trust is None else trust > 0
    ends = reward.new_full((len(reward),), -torch.inf)
    highest = ends.scatter_reduce(0, place, reward.masked_fill(~known, -torch.inf), "amax")
    lowest = -ends.scatter_reduce(0, place, -reward.masked_fill(~known, torch.inf), "amax")
    return (highest - lowest <= LEAST_DEVIATION).float()[place]


def preference(
    chosen: Tensor,
    rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    *,
    beta: float = 0.1,
) -> Tensor:
    """Direct preference optimisation (Rafailov et al. 2023, equation 7).

    -log sigmoid(beta ((chosen - reference_chosen) - (rejected - reference_rejected))).

    Args:
        chosen: float [P], log-probabilities of whole preferred answers, differentiable.
        rejected: float [P], of the other answers.
        reference_chosen: float [P], by the reference.
        reference_rejected: float [P].
        beta: above 0; how much a departure from the reference costs.

    Returns:
        float [P].

    Raises:
        ConfigError: beta out of its range.
    """
    check_range("beta", beta, above=0.0)
    return -F.logsigmoid(beta * ((chosen - reference_chosen) - (rejected - reference_rejected)))
