"""Views of images with masks: their colours change, and no pixel moves away from its class."""

from dataclasses import dataclass

import torch
from torch import Tensor

from didact.sources.augment_images import cutout


@dataclass(frozen=True, slots=True)
class Light:
    """How far the light of an image changes, at most."""

    brightness: float
    """What is added to all pixels of an image."""
    contrast: float
    """Natural logarithm of the factor of the distance to the image's mean."""
    noise: float
    """Standard deviation, pixel by pixel."""
    hides: bool = False
    """Whether a gray square hides a part."""


LIGHTS = {
    "weak": Light(brightness=0.05, contrast=0.1, noise=0.02),
    "strong": Light(brightness=0.2, contrast=0.4, noise=0.1, hides=True),
}


def relight(x: Tensor, how: Light, generator: torch.Generator) -> Tensor:
    """Change brightness, contrast and noise of each image, and hide a part of it.

    Args:
        x: float [B, C, H, W] in [0, 1].
        how: how far.
        generator: on the device of `x`.

    Returns:
        As `x`.
    """
    chance = torch.rand(2, len(x), 1, 1, 1, generator=generator, device=x.device, dtype=x.dtype) * 2 - 1
    mean = x.mean((1, 2, 3), keepdim=True)
    changed = (x - mean) * (how.contrast * chance[0]).exp() + mean + how.brightness * chance[1]
    noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    changed = changed.add_(noise, alpha=how.noise).clamp_(0, 1)
    return cutout(changed, generator) if how.hides else changed
