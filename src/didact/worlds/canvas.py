"""Drawn shapes on canvases, of which every pixel's class is known."""

import dataclasses
import functools

import torch
from torch import Tensor

from didact import hashing
from didact.types import IGNORE, MASK, Examples
from didact.worlds._chance import normal, uniform

SIDE = 16
"""Pixels of a canvas's side."""
PATTERNS = ("plain", "striped", "checked")
FARTHEST = 4
"""How far the masks of `canvas:offset` lie beside, at most, in pixels down and to the right."""
_COUNT, _MOST, _NOISE, _RELIEF = 480, 3, 0.08, 0.2
_VALIDATION, _TEST = 0.1, 0.3
FRAMES, _CLIPS = 4, 240
"""Frames of a clip, and clips."""


@functools.cache
def masks() -> Examples:
    """Tell for each pixel of a small canvas whether it shows a plain, a striped or a checked shape, or nothing.

    Real: nothing.

    Simulated: 480 canvases of 16 x 16 gray pixels with two or three discs or squares, whose place, radius (3 to 5.5
    pixels) and brightness (0.4 to 0.8) are drawn at random; a later shape covers an earlier one. Stripes and checks are
    0.2 brighter and darker than that. The background of about 0.2 rises from one side to another by up to 0.4, and
    every pixel has Gaussian noise with a deviation of 0.08.

    Known: the class of every pixel. Its brightness tells shape from background at best; which pattern it is part of can
    be told from its surroundings alone.

    Returns:
        `x` float32 [480, 1, 16, 16] in [0, 1], `mask` int64 [480, 16, 16] (0 is nothing), `label` int64 [480] (0: there
        is a mask), `id` int64 [480] from the pixels.
    """
    ids = torch.arange(_COUNT)
    mask, x = draw(_places(ids))
    x = (x + _NOISE * normal(ids, SIDE**2, 0, "canvas: noise").view(-1, SIDE, SIDE)).clamp(0, 1)[:, None]
    return _examples(x, mask, "canvas:masks")


@functools.cache
def offset() -> Examples:
    """Tell plain, striped and checked shapes from nothing, where most masks lie beside what they mark.

    Real: nothing.

    Simulated: the canvases and masks of `canvas:masks`. Each has a second mask besides, which is the first one moved
    down and to the right by 0 to 4 pixels each, with the same chances, as an outline of a roof lies beside a house that
    is seen from the side. Where nothing was moved to, it has nothing.

    Known: the class of every pixel. The second masks lie 2 pixels too low and too far right on average, so that a net
    that learns them well answers there.

    Returns:
        `x` float32 [480, 1, 16, 16] in [0, 1], `mask` and `noisy` int64 [480, 16, 16] (0 is nothing), `label` int64
        [480] (0: there is a mask), `id` int64 [480] from the pixels.
    """
    plain = masks().tensors
    chance = uniform(torch.arange(_COUNT), 2, 0, "canvas:offset")
    noisy = _moved(plain[MASK], (chance * (FARTHEST + 1)).long())
    return _examples(plain["x"], plain[MASK], "canvas:offset", noisy=noisy)


def _moved(mask: Tensor, shift: Tensor) -> Tensor:
    """Masks [N, H, W] moved down and right by `shift` [N, 2] pixels, with 0 where nothing comes from."""
    rows, columns = (
        torch.arange(side) - far[:, None] for side, far in zip(mask.shape[1:], shift.unbind(1), strict=True)
    )
    found = mask[torch.arange(len(mask))[:, None, None], rows.clamp(min=0)[:, :, None], columns.clamp(min=0)[:, None]]
    return torch.where((rows >= 0)[:, :, None] & (columns >= 0)[:, None], found, 0)


@functools.cache
def points() -> Examples:
    """Tell plain, striped and checked shapes from nothing, learned from single pixels of each.

    Real: nothing.

    Simulated: the canvases of `canvas:masks`. In training, a mask holds one pixel of each class that the canvas shows,
    any of them with the same chance; the others have no class. In validation and test, masks are whole. Splits are
    fixed.

    Known: the class of every pixel; 2 to 4 of 256 have one in training.

    Returns:
        `x` float32 [480, 1, 16, 16] in [0, 1], `mask` int64 [480, 16, 16] (0 is nothing, -100 not said), `label` int64
        [480] (0: there is a mask), `split` (see `didact.sources.split`) and `id` from the pixels, int64 [480].
    """
    plain, ids = masks().tensors, torch.arange(_COUNT)
    chance = uniform(ids, 1, 0, "canvas:points: split")[:, 0]
    split = torch.where(chance < _TEST, 2, (chance < _TEST + _VALIDATION).long())
    mask = torch.where((split == 0)[:, None, None], _pointed(plain[MASK], ids), plain[MASK])
    return _examples(plain["x"], mask, "canvas:points", split=split)


def _pointed(mask: Tensor, ids: Tensor) -> Tensor:
    """Masks [N, H, W] of which one pixel of each class is left, drawn by ids [N]."""
    chance = uniform(ids, mask[0].numel(), 0, "canvas:points").view_as(mask)
    classes = range(len(PATTERNS) + 1)
    tops = [(chance * (mask == number)).amax((1, 2), keepdim=True) for number in classes]
    kept = torch.stack([(chance == top) & (mask == number) for number, top in zip(classes, tops, strict=True)]).any(0)
    return torch.where(kept, mask, IGNORE)


def _examples(x: Tensor, mask: Tensor, name: str, **more: Tensor) -> Examples:
    label = torch.zeros(len(x), dtype=torch.int64)
    return Examples(
        tensors={"x": x, MASK: mask, "label": label, "id": hashing.of_rows(x), **more},
        task="segmentation",
        modality="image",
        classes=("nothing", *PATTERNS),
        name=name,
    )


def _places(ids: Tensor) -> Tensor:
    """What is drawn on each canvas, float64 [N, K + 1, 7] in [0, 1).

    Of each shape its pattern, place down and right, radius, form, brightness and whether it is there; last the
    background.
    """
    return uniform(ids, 7 * (_MOST + 1), 0, "canvas: shapes").view(len(ids), _MOST + 1, 7)


def draw(shapes: Tensor) -> tuple[Tensor, Tensor]:
    """Draw shapes over each other.

    Args:
        shapes: float [N, K + 1, 7] in [0, 1), see `_places`. The first two shapes are always there, another one with
            chance 1/2; the last row is the direction and strength of the background.

    Returns:
        Classes int64 [N, 16, 16], and brightness float32 [N, 16, 16] in [0, 1].
    """
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    patterns = torch.stack([torch.zeros(SIDE, SIDE), 2.0 * (rows % 2) - 1, 2.0 * ((rows + columns) % 2) - 1])
    turn, strength = shapes[:, -1, 0, None, None] * 2 * torch.pi, shapes[:, -1, 1, None, None]
    slope = ((rows - SIDE / 2) * turn.sin() + (columns - SIDE / 2) * turn.cos()) / SIDE
    x, mask = 0.2 + 0.4 * strength * slope, torch.zeros(len(shapes), SIDE, SIDE, dtype=torch.int64)
    for number in range(shapes.shape[1] - 1):
        kind, down, right, radius, round_, light, there = shapes[:, number, :, None, None].unbind(1)
        kind, radius = (kind * len(PATTERNS)).long(), 3 + 2.5 * radius
        near, far = (rows - down * SIDE).abs(), (columns - right * SIDE).abs()
        disc, square = near.square() + far.square() <= radius.square(), torch.maximum(near, far) <= 0.85 * radius
        inside = torch.where(round_ < 0.5, disc, square) & ((number < 2) | (there < 0.5))
        mask = torch.where(inside, kind + 1, mask)
        x = torch.where(inside, 0.4 + 0.4 * light + _RELIEF * patterns[kind[:, 0, 0]], x)
    return mask, x.clamp(0, 1).float()


@functools.cache
def moving() -> Examples:
    """Tell for each pixel of a short clip whether it shows a thing of the kind that moves.

    Real: nothing.

    Simulated: 240 clips of four frames of 16 x 16 gray pixels, one below the other. A striped or checked disc or square
    with a radius of 3 to 4.25 pixels lies before two plain ones on a background that rises from one side to another. In
    about two of three clips it moves, by 2.5 to 3.5 pixels a frame; in the others it lies still. Nothing else moves.
    Every pixel has Gaussian noise with a deviation of 0.08.

    Known: the class of every pixel. A difference between frames shows a thing that moves, though not where it hides
    itself; one that lies still can be told by its pattern alone.

    Returns:
        `x` float32 [240, 1, 64, 16] in [0, 1], `mask` int64 [240, 64, 16] (1 is a thing that moves or could), `label`
        int64 [240] (0: there is a mask), `id` int64 [240] from the pixels, `moves` int64 [240] (1 where it does).
    """
    ids = torch.arange(_CLIPS)
    chance = uniform(ids, 7 * (_MOST + 1) + 4, 0, "canvas: clips")
    shapes, (still, turn, fast, pattern) = chance[:, :-4].view(_CLIPS, _MOST + 1, 7), chance[:, -4:].unbind(1)
    moves = still < 2 / 3
    shapes[:, :2, 0] = 0.0
    shapes[:, 2, 0] = (1 + (pattern < 0.5).double()) / len(PATTERNS) + 0.01
    shapes[:, 2, 3], shapes[:, 2, 5] = 0.5 * shapes[:, 2, 3], 0.5 + 0.5 * shapes[:, 2, 5]
    shapes[:, 2, 6] = 0.0
    middle, turn = 0.35 + 0.3 * shapes[:, 2, 1:3], turn * 2 * torch.pi
    path = torch.stack([turn.sin(), turn.cos()], 1) * ((2.5 + fast) * moves / SIDE)[:, None]
    frames = []
    for place in range(FRAMES):
        shapes[:, 2, 1:3] = middle + (place - (FRAMES - 1) / 2) * path
        frames.append(draw(shapes))
    mask, x = (torch.cat(parts, 1) for parts in zip(*frames, strict=True))
    x = (x + _NOISE * normal(ids, FRAMES * SIDE**2, 0, "canvas: noise of clips").view_as(x)).clamp(0, 1)[:, None]
    return dataclasses.replace(
        _examples(x, (mask > 1).long(), "canvas:moving", moves=moves.long()), classes=("still", "moving")
    )
