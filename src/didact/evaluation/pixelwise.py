"""Pixels: how well masks are predicted, and a cheap baseline of anomaly detection, a Gaussian for each pixel."""

import torch
from torch import Tensor

from didact.errors import DataError
from didact.evaluation.predictions import Predictions, predictions_of
from didact.types import Examples

_LEAST = 0.01
"""The lower bound of a pixel's variance, as a share of the pixels' mean variance."""
_ALARM = 3.0


def mean_iou(confusion: Tensor) -> float:
    """The mean over classes of intersection over union, with the pixels of all images in one table.

    That is the measure of PASCAL VOC and Cityscapes, and `MulticlassJaccardIndex` of torchmetrics with its defaults: a
    class that is neither among the labels nor among the predictions does not count.

    Args:
        confusion: int64 [C, C]; rows are labels, columns predictions.

    Returns:
        In [0, 1]; 0 where there is no pixel.
    """
    hits = confusion.diagonal().double()
    union = confusion.sum(0) + confusion.sum(1) - hits
    return float((hits / union.clamp(min=1)).sum() / (union > 0).sum().clamp(min=1))


def pixel_gaussian_scores(train: Examples, test: Examples) -> Predictions:
    """Model each pixel of normal images as an independent Gaussian, and score deviations.

    Args:
        train: images; those with the label 0 are normal, the others are not used.
        test: images of the same shape.

    Returns:
        `maps`: the squared distance of a pixel to its mean among the normal training images over its variance (at least
        1% of the mean variance), averaged over channels. `logits` [N, 2]: 0, and the mean of an image's map,
        standardised by those of the normal training images, minus 3.

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
    logits = torch.stack([torch.zeros_like(score), score], 1).cpu()
    return predictions_of(logits, test, maps=found.float().cpu())
