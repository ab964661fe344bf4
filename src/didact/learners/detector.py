"""Anomaly detectors: anomaly maps of images, and scores from them."""

import torch
from torch import Tensor, nn

from didact.learners.moments import Moments
from didact.types import Place

_KEPT = 0.9
"""The decay of the running statistics of normal images, per step."""


class AnomalyScore(nn.Module):
    """Computes logits from anomaly maps, standardised by those of normal images.

    Accumulated maps take effect at the next `update`.

    Args:
        classes: C.
        normal: the class of images without a defect.
        margin: the number of standard deviations by which an image must exceed normal ones to be classified as
            defective.
    """

    def __init__(self, classes: int, *, normal: int, margin: float) -> None:
        super().__init__()
        self.classes, self.normal, self.margin = classes, normal, margin
        self.moments = Moments(torch.zeros(1, 1), kept=_KEPT)

    @torch.no_grad()
    def accumulate(self, maps: Tensor, normal: Tensor, place: Place | None = None) -> None:
        """Accumulate maps of images.

        Args:
            maps: [B, 1, H, W].
            normal: bool [B], the images that are normal; the others are replaced by the mean of the normal ones.
            place: gathers the rows of other processes.
        """
        peaks, mask = _log_peak(maps), normal[:, None]
        known = [(peaks * mask).sum(), mask.sum().to(peaks.dtype)]
        if place is not None:
            place.sum(known)
        self.moments.accumulate(torch.where(mask, peaks, known[0] / known[1].clamp(min=1)), place)

    def update(self) -> None:
        """Update the statistics of normal images."""
        self.moments.update()

    def forward(self, maps: Tensor) -> Tensor:
        """Maps [B, 1, H, W] to logits [B, C].

        0 for the normal class; for the others the logarithm of the map's largest value, standardised by those of normal
        images, minus the margin.
        """
        score = self.moments(_log_peak(maps)) - self.margin
        return score * (torch.arange(self.classes, device=maps.device) != self.normal)


class AnomalyDetector(nn.Module):
    """An image classifier that localises defects.

    Args:
        anomaly_map: from images [B, channels, H, W] to maps [B, 1, H, W], 0 or more. A `ModuleLearner` of the detector
            that taps `anomaly_map` shows them among its features.
        alarm: maps them to logits.
    """

    def __init__(self, anomaly_map: nn.Module, alarm: AnomalyScore) -> None:
        super().__init__()
        self.anomaly_map, self.alarm = anomaly_map, alarm

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, H, W] to logits [B, C]."""
        return self.alarm(self.anomaly_map(x))


def _log_peak(maps: Tensor) -> Tensor:
    """The logarithm of the largest value of each map: [B, 1]."""
    return maps.float().flatten(1).amax(1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny).log()
