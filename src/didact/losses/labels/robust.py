"""Losses and selections that wrong labels harm less."""

import math

import torch
from torch import Tensor

from didact.losses._weigh import weigh
from didact.types import IGNORE, Term

ZERO_PROB = 1e-4
"""What stands for a label's probability of 0 in a logarithm: exp(A) with the A of Wang et al.'s code."""


def reverse_cross_entropy(
    logits: Tensor, labels: Tensor, *, trust: Tensor | None = None, weight: Tensor | None = None
) -> Term:
    """Cross-entropy with label and prediction exchanged (Wang, Ma, Chen, Luo, Yi & Bailey 2019).

    It is -sum_c p_c log y_c, where log 0 is taken as log 1e-4: for hard labels, 9.21 times the probability of all other
    classes. Unlike cross-entropy it is bounded, so that a label which contradicts a sure prediction pulls little.

    Args:
        logits: float [B, C].
        labels: int64 [B], where `IGNORE` is left out of the sum and of the count; or probabilities float [B, C].
        trust: float [B] in [0, 1], a weight of each example in the sum and in the count.
        weight: float [B], a weight of each example in the sum alone.
    """
    probs = logits.float().softmax(-1)
    if labels.ndim == 2:
        losses = -(probs * labels.clamp(ZERO_PROB, 1.0).log()).sum(-1)
    else:
        known = labels != IGNORE
        losses = -math.log(ZERO_PROB) * (1.0 - probs.gather(-1, labels.clamp(min=0)[:, None])[:, 0])
        trust = known.float() if trust is None else trust * known
    return weigh(losses if weight is None else losses * weight, trust)


def small_losses(losses: Tensor, share: float) -> Tensor:
    """The examples of a batch with the smallest losses (Han et al. 2018).

    Args:
        losses: float [B]; NaN for examples without a label, which are never among them.
        share: in [0, 1], of those with a loss; rounded down, but at least one where there is any.

    Returns:
        float32 [B], 1 for those and 0 for others.
    """
    known = ~losses.isnan()
    count = (known.sum() * share).floor().clamp(min=1)
    rank = torch.where(known, losses, torch.inf).argsort(stable=True).argsort()
    return ((rank < count) & known).float()
