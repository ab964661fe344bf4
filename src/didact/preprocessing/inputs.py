"""Images and texts: what a student takes, so that others can be brought into that form."""

from dataclasses import dataclass

import numpy as np
import torch

from didact.documents import Document
from didact.errors import DataError
from didact.preprocessing.table import Encoded

LARGEST = 10_000_000
"""Numbers in one image, tokens of a text, or token ids of a vocabulary."""


@dataclass(frozen=True, kw_only=True)
class ImagePreprocessing:
    """Images of one size, as `x` float32 [N, channels, height, width] in [0, 1]."""

    channels: int
    height: int
    width: int

    def __post_init__(self) -> None:
        if min(self.shape) < 1 or self.channels * self.height * self.width > LARGEST:
            raise ValueError(f"its images are {self.channels} by {self.height} by {self.width}")

    @property
    def shape(self) -> tuple[int, ...]:
        """That of one input, (channels, height, width)."""
        return self.channels, self.height, self.width

    def encode(self, images: np.ndarray) -> Encoded:
        """Turn images into numbers.

        Args:
            images: see `scale_images`; gray ones are repeated where the student takes colours.

        Raises:
            DataError: they have another size.
        """
        x = scale_images(images)
        if x.shape[1] == 1 < self.channels:
            x = np.repeat(x, self.channels, axis=1)
        if x.shape[1:] != self.shape:
            raise DataError(
                f"The images are {list(x.shape[1:])}, but the student takes {list(self.shape)} (channels, height, "
                "width); give files, which are resized, or arrays of that size."
            )
        return Encoded({"x": torch.from_numpy(np.ascontiguousarray(x))})

    def describe(self) -> Document:
        """All of it, ready for JSON."""
        return {"kind": "image", **vars(self)}


def scale_images(images: np.ndarray, name: str = "the images") -> np.ndarray:
    """Bring arrays of images into one form.

    Args:
        images: [N, H, W], [N, C, H, W] or [N, H, W, C] with 1 or 3 channels: bytes, or floats in [0, 1].
        name: where they came from, for messages.

    Returns:
        float32 [N, C, H, W] in [0, 1].

    Raises:
        DataError: another shape, or values out of range.
    """
    given = images.shape
    if images.ndim == 3:
        images = images[:, None]
    elif images.ndim == 4 and images.shape[1] not in (1, 3) and images.shape[3] in (1, 3):
        images = images.transpose(0, 3, 1, 2)
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise DataError(
            f"{name}: x has shape {list(given)}; a table is [N, F], series are [N, channels, T], and images are "
            "[N, H, W], [N, C, H, W] or [N, H, W, C] with 1 or 3 channels."
        )
    values = images.astype(np.float32) / (255 if images.dtype.kind in "iu" else 1)
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
        raise DataError(
            f"{name}: the images' values lie between {values.min():g} and {values.max():g}; they must be bytes, or "
            f"floats in [0, 1].{' Say modality=series (--modality series) if they are series.' * (len(given) == 3)}"
        )
    return np.ascontiguousarray(values)


@dataclass(frozen=True, kw_only=True)
class TextPreprocessing:
    """Texts as `input_ids` and `attention_mask` int64 [N, T]."""

    column: str
    """The column of a table that holds them."""
    max_length: int
    """The longest text in tokens, T; longer ones are cut."""
    vocabulary: int
    """How many token ids there are."""

    def __post_init__(self) -> None:
        if not (0 < self.max_length <= LARGEST and 0 <= self.vocabulary <= LARGEST):
            raise ValueError(f"its texts have {self.max_length} tokens of {self.vocabulary}")

    @property
    def shape(self) -> tuple[int, ...]:
        """That of one input, (T,)."""
        return (self.max_length,)

    def describe(self) -> Document:
        """All of it, ready for JSON."""
        return {"kind": "text", **vars(self)}
