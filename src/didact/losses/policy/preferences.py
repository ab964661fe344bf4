"""Preferences between completions: losses, and pairs from ratings.

Axis letters: P pairs, Q prompts, K completions to each.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from didact.errors import check_range


def bradley_terry_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    """The negative log-likelihood of preferences under the Bradley-Terry model: -log sigmoid(chosen - rejected).

    Args:
        chosen: float [P], rewards of the preferred answers, differentiable.
        rejected: float [P], of the other answers.

    Returns:
        float [P].
    """
    return -F.logsigmoid(chosen - rejected)


def step_label_loss(reward: Tensor, label: Tensor) -> Tensor:
    """The cross-entropy of whether steps are right (Lightman et al. 2024): -y log sigmoid(r) - (1 - y) log sigmoid(-r).

    Args:
        reward: float [B, S], the log-odds that each step is right, differentiable.
        label: float [B, S] from 0 (wrong) to 1 (right); below 0 where there is no step.

    Returns:
        float [B, S]; 0 where there is no step.
    """
    return (F.softplus(reward) - label * reward).masked_fill(label < 0, 0.0)


def dpo_loss(
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
        chosen: float [P], log-probabilities of whole chosen completions, differentiable.
        rejected: float [P], of the rejected completions.
        reference_chosen: float [P], under the reference.
        reference_rejected: float [P].
        beta: above 0; the strength of the KL penalty against the reference.

    Returns:
        float [P].

    Raises:
        ConfigError: beta out of range.
    """
    check_range("beta", beta, above=0.0)
    return -F.logsigmoid(beta * ((chosen - reference_chosen) - (rejected - reference_rejected)))


def ipo_loss(
    chosen: Tensor,
    rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    *,
    beta: float = 0.1,
) -> Tensor:
    """Identity preference optimisation (Azar et al. 2024, equation 17).

    ((chosen - reference_chosen) - (rejected - reference_rejected) - 1 / (2 beta))²: the margin is led to a value, where
    the logistic loss drives it ever further.

    Args:
        chosen: float [P], log-probabilities of preferred answers, differentiable; of whole ones in the paper, and by
            token (means) in TRL.
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
    return ((chosen - reference_chosen) - (rejected - reference_rejected) - 0.5 / beta).square()


def simpo_loss(chosen: Tensor, rejected: Tensor, *, beta: float = 2.0, margin: float = 1.0) -> Tensor:
    """Simple preference optimisation (Meng, Xia & Chen 2024, equation 6).

    -log sigmoid(beta (chosen - rejected) - margin), of log-probabilities a token and without a reference.

    Args:
        chosen: float [P], mean log-probabilities of the tokens of preferred answers, differentiable.
        rejected: float [P], of the other answers.
        beta: above 0.
        margin: at least 0; by how much the preferred answer is to win (the paper's gamma).

    Returns:
        float [P].

    Raises:
        ConfigError: an option out of its range.
    """
    check_range("beta", beta, above=0.0)
    check_range("margin", margin, at_least=0.0)
    return -F.logsigmoid(beta * (chosen - rejected) - margin)


def odds_ratio_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    """The part of ORPO that tells answers apart (Hong, Lee & Thorne 2024, equation 6).

    -log sigmoid(log odds(chosen) - log odds(rejected)), where the odds of an answer are p / (1 - p), and p is the
    geometric mean of the probabilities of its tokens.

    Args:
        chosen: float [P], mean log-probabilities of the tokens of preferred answers, below 0; differentiable.
        rejected: float [P], of the other answers.

    Returns:
        float [P].
    """
    # log(1 - p): of probabilities near 1 there is little left, which float32 must not round to nothing.
    certain = -torch.finfo(chosen.dtype).tiny
    odds = [p - torch.log(-torch.expm1(p.clamp(max=certain))) for p in (chosen, rejected)]
    return -F.logsigmoid(odds[0] - odds[1])


def kto_loss(
    log_ratio: Tensor,
    good: Tensor,
    divergence: Tensor,
    *,
    beta: float = 0.1,
    desirable: float = 1.0,
    undesirable: float = 1.0,
) -> Tensor:
    """Kahneman-Tversky optimisation, of answers without pairs (Ethayarajh et al. 2024, equation 8).

    An answer that is good is worth sigmoid(beta (r - z)), and one that is bad sigmoid(beta (z - r)), where r is its
    log-ratio to the reference and z the divergence from the reference; the loss is the weight times what is lacking
    to 1.

    Args:
        log_ratio: float [B], of whole answers; differentiable.
        good: bool [B].
        divergence: float [B] or scalar, at least 0; no gradient flows into it.
        beta: above 0; how averse to risk the values are.
        desirable: at least 0, the weight of good answers.
        undesirable: at least 0, that of bad ones.

    Returns:
        float [B], in [0, weight].

    Raises:
        ConfigError: an option out of its range.
    """
    check_range("beta", beta, above=0.0)
    check_range("desirable", desirable, at_least=0.0)
    check_range("undesirable", undesirable, at_least=0.0)
    gain = beta * (log_ratio - divergence.detach())
    return torch.where(good, desirable * torch.sigmoid(-gain), undesirable * torch.sigmoid(gain))


def npo_loss(log_ratio: Tensor, *, beta: float = 0.1) -> Tensor:
    """Negative preference optimisation, of completions to forget (Zhang, Lin, Bai & Mei 2024, equation 3).

    -2 / beta log sigmoid(-beta r), with r the log-ratio of a completion to the reference: DPO without its preferred
    side. The gradient in r is 2 sigmoid(beta r), which is 1 at the reference and in the limit of beta = 0 (gradient
    ascent on the likelihood), and vanishes as the completion becomes unlikely.

    Args:
        log_ratio: float [P], of whole completions, differentiable.
        beta: above 0.

    Returns:
        float [P], at least 0.

    Raises:
        ConfigError: beta out of range.
    """
    check_range("beta", beta, above=0.0)
    return -2.0 / beta * F.logsigmoid(-beta * log_ratio)


def best_vs_rest(rating: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pair the best completion of each prompt with every other one, from the largest gap to the smallest.

    The larger the gap between its ratings, the easier a pair (Pattnaik et al. 2024, Curry-DPO).

    Args:
        rating: float [Q, K], higher is better; NaN where a prompt has fewer completions.

    Returns:
        The index of the best completion, int64 [Q] (the first of several); the others, int64 [Q, K - 1], by decreasing
        gap; and their gaps, as `rating` [Q, K - 1]. A gap of 0 is no pair.
    """
    best = rating.nan_to_num(nan=-torch.inf).argmax(1, keepdim=True)
    gap, other = (rating.gather(1, best) - rating).nan_to_num().sort(dim=1, descending=True, stable=True)
    return best[:, 0], other[:, :-1], gap[:, :-1]
