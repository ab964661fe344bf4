"""Preferences between completions: the DPO loss, and pairs from ratings.

Axis letters: P pairs, Q prompts, K completions to each.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from didact.errors import check_range


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
