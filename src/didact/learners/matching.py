"""Nets that find, for each pixel of one frame, where it was in another."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from didact.learners.maps import flatten_map


def neighbourhoods(x: Tensor, radius: int) -> Tensor:
    """What lies around each pixel, row by row, with zeros outside.

    Args:
        x: float [B, D, H, W].
        radius: R, in pixels.

    Returns:
        float [B, D, (2R + 1)², H, W].
    """
    side = 2 * radius + 1
    return F.unfold(x, side, padding=radius).view(len(x), x.shape[1], side**2, *x.shape[2:])


def correlate(now: Tensor, before: Tensor, radius: int) -> Tensor:
    """The inner products of each pixel's feature with those around the same place in another frame.

    Args:
        now: float [B, D, H, W].
        before: likewise.
        radius: R, in pixels.

    Returns:
        float [B, (2R + 1)², H, W], by displacement, first upwards and to the left.
    """
    return (now[:, :, None] * neighbourhoods(before, radius)).sum(1)


class Matcher(nn.Module):
    """Scores of where each pixel of the second frame was in the first, from coarse to fine.

    Features of both frames are compared within a radius. The same is done with their means over cells of 2 x 2 pixels:
    the log-probability of the cell that a displacement leads to is added to its score, so that the search among pixels
    is confined to the cells that fit.

    Args:
        encoder: from frames [B, 1, H, W] to features [B, D, H, W].
        radius: in pixels, R.
        temperature: by which cosines are divided; that of Li, Zhou and Liu (2023).
    """

    def __init__(self, encoder: nn.Module, radius: int, *, temperature: float = 0.07) -> None:
        super().__init__()
        self.encoder, self.radius, self.temperature = encoder, radius, temperature

    def forward(self, x: Tensor) -> Tensor:
        """Frames [B, 2, H, W], the earlier one first, to scores [B * H * W, (2R + 1)²]."""
        height, width, far = *x.shape[2:], math.ceil(self.radius / 2)
        now, before = (F.normalize(self.encoder(x[:, k : k + 1]), dim=1) for k in (1, 0))
        fine = correlate(now, before, self.radius) / self.temperature
        cells = [F.normalize(F.avg_pool2d(one, 2, ceil_mode=True), dim=1) for one in (now, before)]
        coarse = (correlate(cells[0], cells[1], far) / self.temperature).log_softmax(1)
        coarse = coarse.repeat_interleave(2, 2).repeat_interleave(2, 3)[:, :, :height, :width]
        down, right = (self._steps(side, far).to(x.device) for side in (height, width))
        cell = down[:, None, :, None] * (2 * far + 1) + right[None, :, None, :]
        return flatten_map(fine + coarse.gather(1, cell.flatten(0, 1).expand(len(x), -1, -1, -1)))

    def _steps(self, side: int, far: int) -> Tensor:
        """How many cells on a displacement leads, plus `far`, by displacement and place, int64 [2R + 1, side]."""
        move = torch.arange(-self.radius, self.radius + 1)[:, None]
        return (torch.arange(side) % 2 + move).div(2, rounding_mode="floor") + far
