"""A saved image processor as a module on tensors."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from didact.documents import Document
from didact.errors import ConfigError, DataError

_MODES = {0: "nearest-exact", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers of resampling filters; Lanczos (1) becomes bicubic, the closest that torch has."""


class ImagePreprocess(nn.Module):
    """Resizes, crops and normalises images like a saved image processor, on tensors.

    Args:
        processor: `do_resize`, `size`, `resample`, `do_center_crop`, `crop_size`, `do_rescale`, `rescale_factor`,
            `do_normalize`, `image_mean` and `image_std`, as in `preprocessor_config.json`.
        channels: the model's number of channels; a single channel is repeated.

    Raises:
        ConfigError: a size that isn't understood.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, processor: Document, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.size, self.crop = _sizes(processor)
        self.mode = _MODES.get(processor.get("resample", 2), "bicubic")
        scale = 255.0 * (processor.get("rescale_factor", 1 / 255) if processor.get("do_rescale", True) else 1.0)
        normalised = processor.get("do_normalize", True) and processor.get("image_mean") is not None
        mean, std = (processor["image_mean"], processor["image_std"]) if normalised else ([0.0], [1.0])
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).reshape(-1, 1, 1) / scale)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).reshape(-1, 1, 1) / scale)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 1 or channels, H, W] in [0, 1] to the model's input [B, channels, height, width]."""
        if x.shape[1] not in (1, self.channels):
            raise DataError(f"The images have {x.shape[1]} channels, but the model takes {self.channels}.")
        if self.size is not None:
            size = _resized(x.shape[-2:], self.size)
            # Filters other than bilinear overshoot; Pillow, which the model was trained with, clips to the range.
            x = _interpolate(x, size, self.mode).clamp(0.0, 1.0)
        if self.crop is not None:
            x = _centre(x, self.crop)
        x = (x - self.mean) / self.std
        return x.expand(-1, self.channels, -1, -1)


def _sizes(processor: Document) -> tuple[tuple[int, ...] | None, tuple[int, int] | None]:
    """The size to resize to, as (height, width) or (shortest edge,), and the size to crop to."""
    size = _pair(processor.get("size")) if processor.get("do_resize", True) else None
    crop = _pair(processor.get("crop_size")) if processor.get("do_center_crop", False) else None
    if crop is not None and len(crop) == 1:
        crop = crop * 2
    share = processor.get("crop_pct")
    if share is not None and size is not None and len(size) == 1 and size[0] < 384:
        # ConvNeXt resizes to a slightly larger size, and crops the centre.
        crop, size = (size[0], size[0]), (int(size[0] / share),)
    return size, (crop[0], crop[1]) if crop is not None else None


def _pair(size: object) -> tuple[int, ...] | None:
    if size is None:
        return None
    if isinstance(size, int):
        return (size, size)
    if isinstance(size, dict) and {"height", "width"} <= set(size):
        return (int(size["height"]), int(size["width"]))
    if isinstance(size, dict) and "shortest_edge" in size and "longest_edge" not in size:
        return (int(size["shortest_edge"]),)
    raise ConfigError(f"The image processor's size is {size!r}; height and width, or shortest_edge, would work.")


def _resized(shape: Sequence[int], size: tuple[int, ...]) -> tuple[int, int]:
    if len(size) == 2:
        return size[0], size[1]
    short = min(shape)
    height, width = (size[0] if n == short else int(size[0] * n / short) for n in shape)
    return height, width


def _interpolate(x: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    if tuple(x.shape[-2:]) == size:
        return x
    if mode == "nearest-exact":
        return F.interpolate(x, size, mode=mode)
    return F.interpolate(x, size, mode=mode, antialias=True, align_corners=False)


def _centre(x: Tensor, size: tuple[int, int]) -> Tensor:
    """The middle of images, with zeros around those that are smaller."""
    over = [max(0, wanted - has) for wanted, has in zip(size, x.shape[-2:], strict=True)]
    if any(over):
        x = F.pad(x, (over[1] // 2, over[1] - over[1] // 2, over[0] // 2, over[0] - over[0] // 2))
    top, left = ((has - wanted) // 2 for has, wanted in zip(x.shape[-2:], size, strict=True))
    return x[..., top : top + size[0], left : left + size[1]]
