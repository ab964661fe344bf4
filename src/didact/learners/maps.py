"""Nets that answer for each pixel of an image."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from didact.learners.module import ModuleLearner
from didact.learners.nets import Standardise
from didact.types import Examples

GROUPS = 4
"""The most groups of channels that are normalised by themselves."""


def flatten_map(scores: Tensor) -> Tensor:
    """Scores [B, C, H, W] as those of pixels [B * H * W, C], image by image and row by row."""
    return scores.movedim(1, -1).flatten(0, -2)


def unflatten_map(scores: Tensor, x: Tensor) -> Tensor:
    """Scores of pixels [B * H * W, C] as those of the images x, [B, ..., H, W]: float [B, C, H, W]."""
    return scores.view(len(x), *x.shape[-2:], -1).movedim(-1, 1)


class PixelNet(nn.Module):
    """Makes any net from images to maps one that answers for pixels.

    Args:
        module: takes [B, channels, H, W] and returns scores [B, C, H, W], or something with `logits` or `out`, as the
            nets of transformers and torchvision do. Scores of another size are resized bilinearly to the images'.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, H, W] to [B * H * W, C]."""
        scores = _scores(self.module(x))
        if scores.ndim != x.ndim:
            return scores
        if scores.shape[2:] != x.shape[2:]:
            scores = F.interpolate(scores, x.shape[2:], mode="bilinear", align_corners=False)
        return flatten_map(scores)


def _scores(result: Any) -> Tensor:
    if isinstance(result, Tensor):
        return result
    found = [result[name] for name in ("logits", "out") if hasattr(result, "__getitem__") and name in result]
    return found[0] if found else result.logits


class MapBlock(nn.Module):
    """A dilated 3 x 3 convolution that keeps the size, normalisation by groups, and ReLU."""

    def __init__(self, channels: int, width: int, dilation: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 3, padding=dilation, dilation=dilation, bias=False)
        self.norm = nn.GroupNorm(max(g for g in range(1, GROUPS + 1) if width % g == 0), width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, H, W] to [B, width, H, W]."""
        return F.relu(self.norm(self.conv(x)))


def fcn(widths: Sequence[int], examples: Examples, outputs: int) -> nn.Module:
    """A fully convolutional net (Long, Shelhamer & Darrell 2015) that answers for each pixel.

    Departures: it never halves the size; the dilations 1, 2, 4, ... of its convolutions widen what a pixel sees instead
    (Yu & Koltun 2016).
    """
    channels = [examples.shape[0], *widths]
    blocks = [MapBlock(channels[place], width, 2**place) for place, width in enumerate(widths)]
    return PixelNet(nn.Sequential(Standardise.fit(examples), *blocks, nn.Conv2d(channels[-1], outputs, 1)))


def layer_before_last(learner: ModuleLearner) -> str:
    """The name of the layer whose output the last layer of a chain makes scores of, to be tapped."""
    last = learner.candidates()[-1]
    chain, _, _ = last.rpartition(".")
    beside = [name for name in learner.candidates() if name.rpartition(".")[0] == chain]
    return beside[-2] if len(beside) > 1 else last
