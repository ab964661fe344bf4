"""Images whose two parts change places, and what is known of their pixels with them."""

import torch
from torch import Tensor


def swapped_places(count: int, sides: tuple[int, int], share: float) -> Tensor:
    """Draw which pixel comes to which place where an image is cut once and its two parts change places.

    Each image is cut across or along with the same chance, anywhere (Chen et al. 2022, patch shuffling). The global
    generator draws.

    Args:
        count: the number of images, B.
        sides: height and width, H and W.
        share: the chance of an image to be cut, in [0, 1].

    Returns:
        int64 [B, H * W], for each place the number of the pixel that comes there.
    """
    height, width = sides
    cut, across, where = torch.rand(3, count)
    rows, columns = ((where * side * (cut < share)).long() for side in sides)
    rows, columns = rows * (across < 0.5), columns * (across >= 0.5)
    down = (torch.arange(height) + rows[:, None]) % height
    right = (torch.arange(width) + columns[:, None]) % width
    return (down[:, :, None] * width + right[:, None]).flatten(1)


def rearrange_pixels(x: Tensor, places: Tensor) -> Tensor:
    """Bring pixels to their places.

    Args:
        x: [B, C, H, W]; or [B * H * W], a number for each pixel.
        places: int64 [B, H * W], see `swapped_places`.

    Returns:
        As `x`.
    """
    pixels = x.reshape(len(places), -1, places.shape[1])
    return pixels.gather(2, places[:, None].expand_as(pixels)).view_as(x)
