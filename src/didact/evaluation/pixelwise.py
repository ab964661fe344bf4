"""The cheapest way to find defects in images: what is unusual, pixel by pixel."""

import torch

from didact.errors import DataError
from didact.evaluation.predictions import MASK, Predictions
from didact.types import Examples

_LEAST = 0.01
"""The least variance of a pixel, as a share of the pixels' mean variance, that it is divided by."""
_ALARM = 3.0


def pixel_gaussian_scores(train: Examples, test: Examples) -> Predictions:
    """Take each pixel of a normal image for a normal variable of its own, and say how far off each is.

    Args:
        train: images, of which those with the label 0 are normal ones; the others are not looked at.
        test: images of the same shape.

    Returns:
        `maps`: the squared distance of a pixel to its mean among the normal training images over its variance (at least
        1% of the mean variance), averaged over channels. `logits` [N, 2]: 0, and by how many standard deviations an
        image's mean of its map lies above those of the normal training images, less 3.

    Raises:
        DataError: fewer than two training images are normal.
    """
    x, normal = train.tensors["x"].double(), train.tensors["label"] == 0
    if int(normal.sum()) < 2:
        raise DataError("Fewer than two training images have the label 0, which stands for normal ones.")
    variance = x[normal].var(0, correction=0)
    mean, variance = x[normal].mean(0), variance.clamp(min=float(_LEAST * variance.mean()) + 1e-12)

    def maps(images: torch.Tensor) -> torch.Tensor:
        return ((images - mean).square() / variance).mean(1, keepdim=True)

    usual, found = maps(x[normal]).flatten(1).mean(1), maps(test.tensors["x"].double())
    score = (found.flatten(1).mean(1) - usual.mean()) / usual.std().clamp(min=1e-12) - _ALARM
    masks = test.tensors.get(MASK)
    return Predictions(
        logits=torch.stack([torch.zeros_like(score), score], 1).cpu(),
        labels=test.tensors["label"].cpu(),
        task=test.task,
        classes=test.classes,
        maps=found.float().cpu(),
        masks=None if masks is None else masks.cpu(),
    )
