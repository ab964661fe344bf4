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


@torch.no_grad()
def predicted_labels(logits: Tensor, labels: Tensor) -> Tensor:
    """The examples whose label is the likeliest class (the confident ones of Bai et al. 2021 and Huang et al. 2023).

    Args:
        logits: float [B, C].
        labels: int64 [B] with `IGNORE`, or probabilities float [B, C], whose largest counts.

    Returns:
        float32 [B], 1 for those and 0 for others.
    """
    hard = labels if labels.ndim == 1 else labels.argmax(-1)
    return (logits.argmax(-1) == hard).float()


def avoid_labels(logits: Tensor, labels: Tensor, *, trust: Tensor | None = None) -> Term:
    """Keep away from classes: -log(1 - p), where p is the probability of the class.

    Args:
        logits: float [B, C], of two classes or more.
        labels: int64 [B], the classes to avoid, where `IGNORE` is left out of the sum and of the count.
        trust: float [B] in [0, 1], a weight of each example in the sum and in the count.
    """
    logits, known = logits.float(), labels != IGNORE
    # The others' share, without subtracting from 1, of which little may be left.
    others = logits.scatter(-1, labels.clamp(min=0)[:, None], -torch.inf)
    losses = logits.logsumexp(-1) - others.logsumexp(-1)
    return weigh(losses, known.float() if trust is None else trust * known)
