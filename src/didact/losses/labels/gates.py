"""Gates: which pseudo-labels are learned, and with what weight.

Axis letters: B examples, C classes. Nothing here carries a gradient.
"""

import torch
from torch import Tensor

from didact.losses._weigh import weigh
from didact.types import Term

_LEAST_SHARE = 1e-6
"""Added to shares of classes before they are divided."""


@torch.no_grad()
def pseudo_labels(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The likeliest class of each example, and its probability.

    Args:
        logits: float [B, C].

    Returns:
        The confidence, float32 [B] in [1/C, 1]; and the class, int64 [B].
    """
    confidence, label = logits.float().softmax(-1).max(-1)
    return confidence, label


@torch.no_grad()
def fixed_gate(confidence: Tensor, threshold: Tensor | float) -> Tensor:
    """1 where the confidence reaches a threshold, 0 elsewhere.

    Args:
        confidence: float [B].
        threshold: a number, or one for each example, float [B].

    Returns:
        float32 [B].
    """
    return (confidence >= threshold).float()


@torch.no_grad()
def convex_thresholds(learned: Tensor, threshold: float) -> Tensor:
    """Thresholds that are lower for classes of which less is learned (Zhang et al. 2021, FlexMatch, equation 11).

    Args:
        learned: float [C] in [0, 1], how well each class is learned.
        threshold: that of a class that is wholly learned.

    Returns:
        float [C], the threshold times a / (2 - a).
    """
    return threshold * learned / (2.0 - learned)


@torch.no_grad()
def self_adaptive_thresholds(confidence: Tensor, probs: Tensor) -> Tensor:
    """Thresholds from what the student is sure of, overall and by class (Wang et al. 2023, FreeMatch, equation 8).

    Args:
        confidence: scalar, its mean confidence.
        probs: float [C], its mean probabilities.

    Returns:
        float [C], the mean confidence times p_c / max p.
    """
    return confidence * probs / probs.max()


@torch.no_grad()
def gaussian_gate(confidence: Tensor, mean: Tensor, variance: Tensor, sigmas: float = 2.0) -> Tensor:
    """1 above the mean confidence, and below it as a Gaussian falls (Chen et al. 2023, SoftMatch, equation 4).

    Args:
        confidence: float [B].
        mean: scalar, the mean confidence.
        variance: scalar, that of the confidence.
        sigmas: by how much the Gaussian is narrower than the confidences: its variance is divided by the square.

    Returns:
        float [B] in (0, 1].
    """
    below = (confidence - mean).clamp(max=0.0)
    return torch.exp(-below.square() * sigmas**2 / (2.0 * variance))


@torch.no_grad()
def align(probs: Tensor, found: Tensor, wanted: Tensor) -> Tensor:
    """Distribution alignment: shift probabilities so that their mean is as wanted (Berthelot et al. 2020, ReMixMatch).

    Args:
        probs: float [B, C].
        found: float [C], the mean probabilities of late.
        wanted: float [C], what they should be.

    Returns:
        float [B, C], proportional to probs · wanted / found in each row.
    """
    shifted = probs * (wanted + _LEAST_SHARE) / (found + _LEAST_SHARE)
    return shifted / shifted.sum(-1, keepdim=True)


def admitted_share(gate: Tensor, unlabelled: Tensor) -> Term:
    """The mean of a gate over the unlabelled examples, as a term that is only looked at.

    Args:
        gate: float [B] in [0, 1].
        unlabelled: float [B], 1 for unlabelled examples and 0 for others.
    """
    return weigh(gate, unlabelled).times(0.0)
