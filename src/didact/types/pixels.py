"""Masks: the pixels of images as examples of their own, for whatever is written for single examples."""

import functools
from collections.abc import Mapping

import torch
from torch import Tensor

from didact.types.batches import IGNORE, Batch, is_labelled
from didact.types.methods import Method
from didact.types.terms import Terms

MASK = "mask"
"""The tensor with the classes of pixels, int64 [N, H, W], where `IGNORE` is a pixel without one."""


def pixel_labels(tensors: Mapping[str, Tensor]) -> Tensor:
    """The labels of all pixels, image by image and row by row.

    Args:
        tensors: those of a segmentation; without the label of an image, its pixels have none.

    Returns:
        int64 [N * H * W], with `IGNORE`.
    """
    known = is_labelled(tensors["label"])
    return tensors[MASK].masked_fill(~known[:, None, None], IGNORE).flatten()


class PixelBatch(Batch):
    """The pixels of B images as B * H * W examples; the inputs alone are still those of whole images."""

    __slots__ = ()

    def either(self, mask: Tensor, first: str, second: str) -> Batch:
        """As for any batch, where an image counts as under the mask (bool [B * H * W]) if any of its pixels is."""
        images = next(tensor.shape[0] for key, tensor in self.items() if key.startswith(f"{first}."))
        return super().either(mask.view(images, -1).any(1), first, second)

    def only(self, mask: Tensor, name: str) -> tuple[Batch, Tensor]:
        """As for any batch, with all pixels of each image of which one is under the mask (bool [B * H * W])."""
        shown = self.view(name)
        pixels = mask.view(len(shown["x"]), -1)
        images = pixels.any(1)
        positions = images[:, None].expand_as(pixels).flatten().nonzero()[:, 0]
        return Batch({key: t[images if key == "x" else positions] for key, t in shown.items()}), positions


def pixels_of(batch: Batch) -> PixelBatch:
    """The pixels of a batch of images with masks.

    `label` becomes that of each pixel. `id` and `row` get a number for each pixel, so that a table with one row for
    each example has one for each pixel. What else is known of each pixel goes with it, and what is known of each image
    holds for all of its pixels.

    Args:
        batch: with `mask` [B, H, W].
    """
    count = batch[MASK][0].numel()
    place = torch.arange(count, device=batch[MASK].device)
    found = dict[str, Tensor]()
    for key, tensor in batch.items():
        if key == "x" or key.endswith(".x"):
            found[key] = tensor
        elif key in ("id", "row"):
            found[key] = (tensor[:, None] * count + place).flatten()
        elif key == "label":
            found[key] = pixel_labels(batch)
        elif tensor.shape == batch[MASK].shape and key != MASK:
            found[key] = tensor.flatten()
        elif key != MASK:
            found[key] = tensor.repeat_interleave(count, 0)
    return PixelBatch(found)


@functools.cache
def per_pixel(kind: type[Method]) -> type[Method]:
    """A method of single examples as one of pixels: it is shown `pixels_of` each batch, and is the same otherwise.

    Args:
        kind: a method whose loss is a sum over examples. Its learners and teachers answer [B * H * W, C].
    """

    def loss(self: Method, batch: Batch) -> Terms:
        return kind.loss(self, pixels_of(batch))

    def counts(self: Method, batch: Batch) -> Mapping[str, Tensor | float]:
        return kind.counts(self, pixels_of(batch))

    own = {"loss": loss, "counts": counts, "__module__": kind.__module__, "__doc__": kind.__doc__}
    if kind.counts is Method.counts:
        own.pop("counts")
    return type(kind.__name__, (kind,), own)
