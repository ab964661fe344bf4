"""Dividing labels into right and wrong ones by their losses, and what is learned of either (Li et al. 2020)."""

import math

import torch
from torch import Tensor

from didact.types import Term

_ROUNDS = 10
"""Of k-means, and of expectation and maximisation: `max_iter` of the authors."""
_LEAST_VARIANCE = 5e-4
"""Added to the variances: `reg_covar` of the authors."""


def small_loss_chances(losses: Tensor) -> Tensor:
    """The chance of each loss to come from the lower of two Gaussians, that of right labels.

    The losses are scaled to [0, 1]. Means, variances and weights start from two clusters (k-means from the smallest and
    the largest loss), and are fitted by ten rounds of expectation and maximisation; there is no earlier stop.

    Args:
        losses: float [N].

    Returns:
        float32 [N] in [0, 1]; all 1 where the losses are equal.
    """
    low, high = losses.min(), losses.max()
    x = ((losses - low) / (high - low).clamp(min=torch.finfo(torch.float32).tiny)).double()
    centres = x.new_tensor([0.0, 1.0])
    for _ in range(_ROUNDS):
        share = _nearest(x, centres)
        centres = (share * x[:, None]).sum(0) / share.sum(0).clamp(min=1.0)
    share = _nearest(x, centres)
    for _ in range(_ROUNDS):
        share, mean = _expected(x, share)
    chances = share.gather(1, mean.argmin().expand(len(x), 1))[:, 0]  # pyright: ignore[reportPossiblyUnboundVariable]
    return torch.where(high > low, chances, 1.0).float()


def _nearest(x: Tensor, centres: Tensor) -> Tensor:
    """Which centre each number is nearest to, as ones and zeros; float64 [N, 2]."""
    return torch.nn.functional.one_hot((x[:, None] - centres).abs().argmin(1), 2).double()


def _expected(x: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Fit two Gaussians to shares [N, 2], and return the shares that these give, with their means [2]."""
    total = share.sum(0) + 10 * torch.finfo(torch.float64).eps
    mean = (share * x[:, None]).sum(0) / total
    variance = (share * (x[:, None] - mean).square()).sum(0) / total + _LEAST_VARIANCE
    logs = (total / len(x)).log() - 0.5 * variance.log() - 0.5 * (x[:, None] - mean).square() / variance
    return logs.softmax(1), mean


def sharpen(probs: Tensor, temperature: float) -> Tensor:
    """Probabilities [B, C] to the power of 1 / temperature, normalised."""
    return (probs.clamp(min=torch.finfo(torch.float32).tiny).log() / temperature).softmax(-1)


def uneven_classes(logits: Tensor) -> Term:
    """The KL divergence from the uniform distribution to the mean prediction of a batch, so that no class is forgotten.

    Args:
        logits: float [B, C].

    Returns:
        The divergence, with a count of 1.
    """
    mean = logits.float().log_softmax(-1).logsumexp(0) - math.log(len(logits))
    return Term(-(mean.mean() + math.log(logits.shape[-1])), 1)


def divided_targets(
    labels: Tensor, right: Tensor, own: Tensor, shared: Tensor, *, threshold: float, temperature: float
) -> Tensor:
    """What a student learns of each example: a refined label where it is likely right, or a guess.

    Args:
        labels: int64 [B].
        right: float [B] in [0, 1], the chance that a label is right; above the threshold the label is refined: mixed in
            that proportion with the student's own prediction.
        own: float [B, C], the student's probabilities.
        shared: float [B, C], those of all students, which are the guess.
        threshold: in [0, 1].
        temperature: sharpens either.

    Returns:
        float [B, C].
    """
    chance = right[:, None]
    refined = chance * torch.nn.functional.one_hot(labels, own.shape[-1]) + (1.0 - chance) * own
    return sharpen(torch.where(chance > threshold, refined, shared), temperature)
