"""Pairs of frames of moving textures, of which it is known where each pixel was before."""

import functools

import torch
from torch import Tensor
from torch.nn import functional as F

from didact import hashing
from didact.types import IGNORE, MASK, Examples
from didact.worlds._chance import normal, uniform

SIDE, FAR = 12, 2
"""Pixels of a frame's side, and how far they move at most, down and to the right or back."""
_COUNT, _SOURCE, _VALIDATION, _TEST = 600, 0.5, 0.1, 0.3
_SPREAD, _NOISE = 0.17, 0.07
_ROOM = SIDE + 2 * FAR


@functools.cache
def textures() -> Examples:
    """Tell where each pixel of a frame was in the frame before, in noisy textures, with labels of clean ones alone.

    Real: nothing.

    Simulated: 600 pairs of frames, 12 x 12 gray pixels each. The first shows a random texture. In the second, the
    background and a disc have moved, each by its own -2 to 2 pixels down and to the right. In one half, of the source
    domain, every pixel of a texture is drawn by itself. In the others, of the target domain, textures are means over 3
    by 3 such pixels, with the same spread, and every pixel of both frames has noise with a deviation of 0.07. Of these,
    six tenths are for training, without masks; the rest are validation and test. Splits are fixed.

    Known: the displacement of every pixel. Where it comes from outside of the first frame, it has no class.

    Returns:
        `x` float32 [600, 2, 12, 12] in [0, 1] (the earlier frame first), `mask` int64 [600, 12, 12], the number of the
        displacement from 0 to 24, row by row, or -100; `label` (0, or -100 where there is no mask), `domain` (1 is the
        target), `split` (see `didact.sources.split`) and `id`, int64 [600].
    """
    ids = torch.arange(_COUNT)
    chance = uniform(ids, 9, 0, "textures")
    target = chance[:, 7] >= _SOURCE
    shift = (chance[:, :4] * (2 * FAR + 1)).long().view(_COUNT, 2, 2, 1, 1) - FAR
    moved = torch.where(_disc(chance[:, 4:7])[:, None], shift[:, 0], shift[:, 1])
    x, mask = _frames(_textures(ids, target), moved)
    noise = _NOISE * normal(ids, x[0].numel(), 0, "textures: noise").view_as(x)
    x = (x + noise * target[:, None, None, None]).clamp(0, 1)
    split = torch.where(chance[:, 8] < _TEST, 2, (chance[:, 8] < _TEST + _VALIDATION).long()) * target
    return Examples(
        tensors={
            "x": x,
            MASK: mask,
            "label": torch.where(target & (split == 0), IGNORE, 0),
            "domain": target.long(),
            "split": split,
            "id": hashing.of_rows(x),
        },
        task="segmentation",
        modality="image",
        classes=tuple(f"{down:+d}{right:+d}" for down in range(-FAR, FAR + 1) for right in range(-FAR, FAR + 1)),
        name="textures",
    )


def _textures(ids: Tensor, blurred: Tensor) -> Tensor:
    """Random numbers around one half, of the same spread, where they are asked for (bool [N]) as means of their
    surroundings; float32 [N, 16, 16].
    """
    sharp = uniform(ids, (_ROOM + 2) ** 2, 0, "textures: pixels").float().view(-1, 1, _ROOM + 2, _ROOM + 2) - 0.5
    # The deviation of a mean of nine is a third of theirs, which is the root of 1 / 12.
    found = torch.where(blurred[:, None, None], 3.0 * F.avg_pool2d(sharp, 3, stride=1)[:, 0], sharp[:, 0, 1:-1, 1:-1])
    return 0.5 + _SPREAD * 12**0.5 * found


def _disc(chance: Tensor) -> Tensor:
    """Which pixels of the second frame are of the disc, bool [N, 12, 12], by centre and radius, [N, 3] in [0, 1)."""
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    down, right, radius = (chance[:, k, None, None] for k in range(3))
    return (rows - down * SIDE) ** 2 + (columns - right * SIDE) ** 2 <= (2 + 2.5 * radius) ** 2


def _frames(still: Tensor, moved: Tensor) -> tuple[Tensor, Tensor]:
    """Two frames of a texture, where each pixel of the second comes from a place that lies `moved` [N, 2, H, W] away.

    Returns:
        float32 [N, 2, H, W]; and the numbers of the displacements, int64 [N, H, W] with `IGNORE`.
    """
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    down, right = rows + moved[:, 0], columns + moved[:, 1]
    second = still[torch.arange(len(still))[:, None, None], down + FAR, right + FAR]
    first = still[:, FAR : FAR + SIDE, FAR : FAR + SIDE]
    inside = (down >= 0) & (down < SIDE) & (right >= 0) & (right < SIDE)
    number = (moved[:, 0] + FAR) * (2 * FAR + 1) + moved[:, 1] + FAR
    return torch.stack([first, second], 1), torch.where(inside, number, IGNORE)
