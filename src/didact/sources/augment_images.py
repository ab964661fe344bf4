"""RandAugment, Cutout, and the crops and mirrored images of photographs, for whole batches.

RandAugment (Cubuk, Zoph, Shlens & Le 2020) is as FixMatch (Sohn et al. 2020) uses it: every operation has a magnitude
that is uniform over its range, and Cutout follows. The operations and ranges are those of `semilearn/datasets/
augmentation/randaugment.py` in microsoft/Semi-supervised-learning.

Departures: images are moved by bilinear sampling, not by the nearest pixel, and sheared about their centre, not their
upper left corner, as kornia does both. Cutout's square lies in grey, and may lie anywhere around a uniform centre.
"""

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor

Change = Callable[[Tensor, Tensor], object]
"""Changes, in place, images float [K, C, H, W] in [0, 1], given a uniform chance of each, [K, 1, 1, 1]."""

ROUNDS = 2
"""Operations that an image gets, drawn with replacement."""
BLEND = (0.05, 0.95)
"""The share of the image that is kept where it is blended with a grey, black or blurred one."""
LEVELS = 255
HOLE = 0.5
"""The longest side of the square of Cutout, as a share of the image's."""
GREY = 0.5
CROP = 0.125
"""How far `crop_flip` moves, at most, as a share of the side."""
LUMA = (0.299, 0.587, 0.114)
"""The weights of red, green and blue in grey (ITU-R BT.601)."""


def randaugment(x: Tensor, generator: torch.Generator) -> Tensor:
    """Change each image by two operations that are drawn for it.

    Args:
        x: float [B, C, H, W] in [0, 1].
        generator: on the device of `x`.

    Returns:
        As `x`.
    """
    count = len(MOVES) + len(COLOURS)
    chosen = torch.randint(count, (ROUNDS, len(x)), generator=generator, device=x.device)
    chance = torch.rand(ROUNDS, len(x), generator=generator, device=x.device, dtype=x.dtype)
    place = torch.arange(len(x), device=x.device)
    for operation, amount in zip(chosen, chance, strict=True):
        # Images of one operation lie side by side, so that each operation works on a slice.
        order = operation[place].argsort(stable=True)
        place = place[order]
        x = x.index_select(0, order)
        _apply(x, operation.bincount(minlength=count).tolist(), amount[place])
    return x.index_select(0, place.argsort())


def _apply(x: Tensor, sizes: list[int], chance: Tensor) -> None:
    """Change, in place, images that lie in the order of their operations.

    Args:
        x: float [B, C, H, W].
        sizes: how many images each of `MOVES` and `COLOURS` has.
        chance: float [B] in [0, 1).
    """
    moves, colours = sizes[: len(MOVES)], sizes[len(MOVES) :]
    start = sum(moves)
    if start:
        maps = torch.eye(2, 3, dtype=x.dtype, device=x.device).repeat(start, 1, 1)
        signed = 2 * chance[:start] - 1
        for move, part, share in zip(MOVES, maps.split(moves), signed.split(moves), strict=True):
            move(part, share, x)
        x[:start] = warp(x[:start], maps)
    for change, size in zip(COLOURS, colours, strict=True):
        if size:
            change(x[start : start + size], chance[start : start + size, None, None, None])
        start += size


def cutout(x: Tensor, generator: torch.Generator) -> Tensor:
    """Hide a grey square around a place of each image, whose side is uniform up to half of the image's width.

    Args:
        x: float [B, C, H, W].
        generator: on the device of `x`.

    Returns:
        As `x`.
    """
    height, width = x.shape[2:]
    side, down, right = torch.rand(3, len(x), 1, generator=generator, device=x.device, dtype=x.dtype)
    reach = side * (HOLE * width / 2)
    rows = (_centres(height, x) - down * height).abs() < reach
    columns = (_centres(width, x) - right * width).abs() < reach
    return x.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], GREY)


def crop_flip(x: Tensor, generator: torch.Generator) -> Tensor:
    """Shift each image by whole pixels, up to an eighth of the side, and mirror half of them.

    What comes in from outside is reflected at the border. That is the usual crop of a padded photograph.

    Args:
        x: float [B, C, H, W].
        generator: on the device of `x`.

    Returns:
        As `x`.
    """
    batch, channels, height, width = x.shape
    rows = _shifted(height, batch, x, generator)
    columns = _shifted(width, batch, x, generator)
    mirrored = torch.rand(batch, 1, generator=generator, device=x.device) < 0.5
    columns = torch.where(mirrored, columns.flip(1), columns)
    x = x.gather(2, rows[:, None, :, None].expand(-1, channels, -1, width))
    return x.gather(3, columns[:, None, None, :].expand(-1, channels, height, -1))


def _shifted(length: int, batch: int, x: Tensor, generator: torch.Generator) -> Tensor:
    """The pixels of a side after a shift, reflected at both ends without repeating them; int64 [batch, length]."""
    furthest = math.ceil(CROP * length) if length > 1 else 0
    shift = torch.randint(-furthest, furthest + 1, (batch, 1), generator=generator, device=x.device)
    place = (torch.arange(length, device=x.device) + shift).abs()
    return torch.where(place >= length, 2 * (length - 1) - place, place)


def warp(x: Tensor, maps: Tensor) -> Tensor:
    """Sample images at affinely mapped places, bilinearly; zero outside.

    Args:
        x: float [B, C, H, W].
        maps: float [B, 2, 3], from a place in the result to that in `x`, both (x to the right, y down, 1) in pixels
            from the centre of the image.

    Returns:
        As `x`.
    """
    batch, _, height, width = x.shape
    places, scale = _places(height, width, x.dtype, x.device)
    # One product for all images, [B * 2, 3] by [3, H * W]. The places of a row lie side by side, which is twice as
    # fast to sample as pairs.
    grid = (maps * scale).view(-1, 3) @ places
    grid = grid.view(batch, 2, height, width).permute(0, 2, 3, 1)
    return torch.nn.functional.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


@functools.lru_cache(maxsize=64)
def _places(height: int, width: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """The pixels of an image as (x, y, 1) from its centre, [3, H * W]; and what turns pixels into the units of
    `grid_sample`, which counts from -1 to 1 between the outer edges, [2, 1].
    """
    down, right = torch.meshgrid(
        torch.arange(height, dtype=dtype, device=device) - (height - 1) / 2,
        torch.arange(width, dtype=dtype, device=device) - (width - 1) / 2,
        indexing="ij",
    )
    places = torch.stack([right, down, torch.ones_like(right)]).view(3, -1)
    return places, torch.tensor([[2 / width], [2 / height]], dtype=dtype, device=device)


def _centres(length: int, like: Tensor) -> Tensor:
    """The centres of a row of pixels, counted from its left edge; [length]."""
    return torch.arange(length, dtype=like.dtype, device=like.device) + 0.5


def rotate(maps: Tensor, share: Tensor, _x: Tensor) -> None:
    """Turn maps [K, 2, 3], in place, by a share in [-1, 1) of 30 degrees."""
    angle = math.radians(30) * share
    maps[:, 0, 0] = maps[:, 1, 1] = angle.cos()
    maps[:, 1, 0] = sine = angle.sin()
    maps[:, 0, 1] = -sine


def shear_x(maps: Tensor, share: Tensor, _x: Tensor) -> None:
    """Shift rows by up to 0.3 of their distance from the centre."""
    maps[:, 0, 1] = 0.3 * share


def shear_y(maps: Tensor, share: Tensor, _x: Tensor) -> None:
    """Shift columns by up to 0.3 of their distance from the centre."""
    maps[:, 1, 0] = 0.3 * share


def translate_x(maps: Tensor, share: Tensor, x: Tensor) -> None:
    """Shift by up to 0.3 of the width."""
    maps[:, 0, 2] = 0.3 * x.shape[3] * share


def translate_y(maps: Tensor, share: Tensor, x: Tensor) -> None:
    """Shift by up to 0.3 of the height."""
    maps[:, 1, 2] = 0.3 * x.shape[2] * share


def same(_x: Tensor, _chance: Tensor) -> None:
    """Leave images as they are."""


def _blend(x: Tensor, other: Tensor, chance: Tensor) -> None:
    low, high = BLEND
    x.lerp_(other, (1 - low) - (high - low) * chance)


def _grey(x: Tensor) -> Tensor:
    """The brightness of three channels as an eye sees it, or the mean of others; [K, 1, ...] of [K, C, ...]."""
    if x.shape[1] != len(LUMA):
        return x.mean(1, keepdim=True)
    red, green, blue = x.split(1, 1)
    return (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])


def brightness(x: Tensor, chance: Tensor) -> None:
    """Blend with black."""
    _blend(x, x.new_zeros(()), chance)


def colour(x: Tensor, chance: Tensor) -> None:
    """Blend with the same image in grey."""
    if x.shape[1] > 1:
        _blend(x, _grey(x).expand_as(x), chance)


def contrast(x: Tensor, chance: Tensor) -> None:
    """Blend with the mean of the grey."""
    _blend(x, _grey(x.mean((2, 3), keepdim=True)).expand_as(x), chance)


def sharpness(x: Tensor, chance: Tensor) -> None:
    """Blend with a blurred image, whose outermost pixels are as they were."""
    if min(x.shape[2:]) < 3:
        return
    rows = x[:, :, :-2] + x[:, :, 1:-1] + x[:, :, 2:]
    blurred = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    inner = x[:, :, 1:-1, 1:-1]
    _blend(inner, blurred.add_(inner, alpha=4).div_(13), chance)


def autocontrast(x: Tensor, _chance: Tensor) -> None:
    """Stretch each channel from 0 to 1; one that has a single value stays."""
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    flat = high == low
    x.sub_(low.masked_fill(flat, 0)).div_((high - low).masked_fill(flat, 1))


def posterize(x: Tensor, chance: Tensor) -> None:
    """Keep the highest 4 to 7 of the 8 bits of each level."""
    step = 2.0 ** (8 - (4 + 4 * chance).floor())
    x.mul_(LEVELS).floor_().div_(step).floor_().mul_(step / LEVELS)


def solarize(x: Tensor, chance: Tensor) -> None:
    """Take values from a uniform threshold on from 1."""
    x.copy_(torch.where(x < chance, x, 1 - x))


def equalize(x: Tensor, _chance: Tensor) -> None:
    """Map each channel's 256 levels so that all are about as frequent, as Pillow does it."""
    level = (x * LEVELS).long().flatten(2).flatten(0, 1)
    # Every channel has a table of its own, one after the other.
    place = level + (LEVELS + 1) * torch.arange(len(level), device=x.device)[:, None]
    counts = place.flatten().bincount(minlength=len(level) * (LEVELS + 1)).view(len(level), -1).double()
    last = counts.gather(1, level.amax(1, keepdim=True))
    step = ((level.shape[1] - last) / LEVELS).floor()
    before = counts.cumsum(1) - counts
    table = ((before + (step / 2).floor()) / step.clamp(min=1)).floor().clamp(max=LEVELS) / LEVELS
    equal = table.to(x.dtype).flatten().index_select(0, place.flatten()).view_as(x)
    x.copy_(torch.where(step.view(*x.shape[:2], 1, 1) > 0, equal, x))


MOVES = (rotate, shear_x, shear_y, translate_x, translate_y)
"""Operations that are affine maps; the images of all are sampled together."""
COLOURS: tuple[Change, ...] = (
    *(same, brightness, colour, contrast, sharpness),
    *(autocontrast, posterize, solarize, equalize),
)
"""All other operations."""
