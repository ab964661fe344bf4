"""Prototypes of classes in regions, and pixels that are drawn to those of their class.

Axis letters: B images, P pixels of an image, C classes, D width of a feature.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from didact.losses._weigh import weigh
from didact.types import IGNORE, Term

_ABSENT = -1e4
"""The score of a class without a prototype."""
_LEAST = 1e-5
"""Added to the total confidence in a class."""


@torch.no_grad()
def region_prototypes(features: Tensor, probs: Tensor, least: float) -> tuple[Tensor, Tensor]:
    """The mean feature of each class in each image, over the pixels that are surely of it (Cho et al. 2024, EV-WSSS).

    Args:
        features: float [B, P, D], normalised.
        probs: float [B, P, C], what the student says; 0 for a class that an image does not show.
        least: the probability above which a pixel counts, with its probability as weight.

    Returns:
        float [B, C, D], normalised; and the number of each class, or `IGNORE` where its pixels weigh less than one
        sure pixel, int64 [B, C].
    """
    weight = probs * (probs > least)
    total = weight.sum(1)
    sums = torch.einsum("bpc,bpd->bcd", weight, features)
    classes = torch.arange(total.shape[1], device=total.device).expand_as(total)
    return F.normalize(sums / (total + _LEAST)[..., None], dim=-1), torch.where(total > 1.0, classes, IGNORE)


def prototype_loss(
    features: Tensor, prototypes: Tensor, known: Tensor, labels: Tensor, *, temperature: float = 0.1
) -> Term:
    """The cross-entropy of a label, where the logits are similarities to the prototypes of the classes.

    Args:
        features: float [N, D], normalised; the gradient flows into them.
        prototypes: float [C, D], normalised; the gradient flows into them where they carry one.
        known: bool [C], which classes have a prototype; the others are no choice, and their labels are left out.
        labels: int64 [N] with `IGNORE`.
        temperature: above 0, by which cosines are divided.

    Returns:
        The sum over labelled features of -log p(label), and their number.
    """
    scores = (features.float() @ prototypes.float().T / temperature).masked_fill(~known, _ABSENT)
    counted = (labels != IGNORE) & known[labels.clamp(min=0)]
    losses = F.cross_entropy(scores, labels.clamp(min=0), reduction="none")
    return weigh(losses, counted.float())


def shown_classes(labels: Tensor, classes: int) -> Tensor:
    """For each pixel, which classes its image has a label of; all of them where it has no label.

    Args:
        labels: int64 [B, P] with `IGNORE`.
        classes: C.

    Returns:
        float32 [B * P, C], 0 or 1.
    """
    known = labels != IGNORE
    there = (F.one_hot(labels.clamp(min=0), classes) * known[..., None]).amax(1).float()
    return torch.where(there.any(1, keepdim=True), there, 1.0).repeat_interleave(labels.shape[1], 0)
