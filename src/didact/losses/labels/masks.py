"""Masks without labels: regions of like pixels, what moves in front of a background, and which masks are good.

Axis letters: B images, C classes or channels, H rows, W columns, P pixels, T frames. Nothing here carries a gradient.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from didact.errors import DataError


@torch.no_grad()
def surroundings(x: Tensor) -> Tensor:
    """What is around each pixel: its brightness, and how that changes downwards and to the right.

    Each is averaged over the 3 x 3 pixels around it, less its mean over the image.

    Args:
        x: float [B, C, H, W], with at least 2 rows and columns.

    Returns:
        float32 [B, 3 C, H, W].
    """
    x = x.float()
    down, right = x.diff(dim=2).abs(), x.diff(dim=3).abs()
    down, right = torch.cat([down, down[:, :, -1:]], 2), torch.cat([right, right[..., -1:]], 3)
    found = F.avg_pool2d(torch.cat([x, down, right], 1), 3, stride=1, padding=1, count_include_pad=False)
    return found - found.mean((2, 3), keepdim=True)


@torch.no_grad()
def merge_regions(features: Tensor, least: float) -> Tensor:
    """Merge adjacent pixels, then regions, whose mean features are alike (Cao et al. 2024, SOHES, phase 1).

    At first each pixel is a region. In each round, two adjacent regions merge if each is the other's most similar
    neighbour, by the cosine between the means of their pixels' features. Among equally similar ones, the first counts.

    Args:
        features: float [B, D, H, W].
        least: the least cosine of two regions that merge, in [-1, 1].

    Returns:
        For each pixel, image by image and row by row, the number of the first pixel of its region, int64 [B * H * W].
    """
    place = torch.arange(features[:, 0].numel(), device=features.device).view_as(features[:, 0])
    down, right = (place[:, :-1], place[:, 1:]), (place[:, :, :-1], place[:, :, 1:])
    pairs = torch.cat([torch.stack([one.flatten(), other.flatten()]) for one, other in (down, right)], 1)
    # The cosine between means is that between sums.
    sums = features.float().movedim(1, -1).flatten(0, -2).clone()
    region = place.flatten().clone()
    while True:
        ends = region[pairs]
        apart = ends[0] != ends[1]
        pairs, ends = pairs[:, apart], ends[:, apart]
        unit = F.normalize(sums, dim=1)
        alike = (unit[ends[0]] * unit[ends[1]]).sum(1)
        to = _merged(ends[:, alike >= least], alike[alike >= least], len(region))
        if to is None:
            return region
        sums = torch.zeros_like(sums).index_add_(0, to, sums)
        region = to[region]


def _merged(ends: Tensor, alike: Tensor, size: int) -> Tensor | None:
    """For each region the first of those that it merges with, int64 [N]; None where nothing merges."""
    if not len(alike):
        return None
    one, other = torch.cat([ends, ends.flip(0)], 1)
    alike = alike.repeat(2)
    best = alike.new_full((size,), -torch.inf).scatter_reduce(0, one, alike, "amax")
    top = alike == best[one]
    chosen = torch.full((size,), size, device=ends.device).scatter_reduce(0, one[top], other[top], "amin")
    itself = torch.arange(size, device=ends.device)
    there = chosen < size
    mutual = there & (chosen[chosen.where(there, itself)] == itself)
    return torch.where(mutual, torch.minimum(chosen, itself), itself)


@torch.no_grad()
def region_votes(region: Tensor, scores: Tensor) -> Tensor:
    """The class of each region: the one of the highest mean score of its pixels.

    Args:
        region: int64 [P], any numbers.
        scores: float [P, C].

    Returns:
        The class of each pixel's region, int64 [P].
    """
    index = torch.unique(region, return_inverse=True)[1]
    sums = torch.zeros_like(scores).index_add_(0, index, scores)
    return sums.argmax(1)[index]


@torch.no_grad()
def moving_foreground(x: Tensor, frames: int, contrast: float) -> Tensor:
    """A soft mask of what moves in front of a still background, which is the median of a clip's frames.

    Args:
        x: float [B, C, T * H, W], frames one below the other.
        frames: T.
        contrast: the difference from the background from which on a pixel surely moves; half of it is none.

    Returns:
        float32 [B, T * H, W] in [0, 1]. Differences are averaged over channels and the 3 x 3 pixels around each.

    Raises:
        DataError: the rows cannot be divided by the frames.
    """
    clip = as_frames(x.float(), frames)
    apart = (clip - clip.median(2, keepdim=True).values).abs().mean(1)
    apart = F.avg_pool2d(apart, 3, stride=1, padding=1, count_include_pad=False)
    return (2.0 * apart / contrast - 1.0).clamp(0.0, 1.0).flatten(1, 2)


def as_frames(x: Tensor, frames: int) -> Tensor:
    """Images of frames that are one below the other, [B, C, T * H, W], as clips, [B, C, T, H, W].

    Raises:
        DataError: the rows cannot be divided by the frames.
    """
    if x.shape[2] % frames:
        raise DataError(
            f"The images have {x.shape[2]} rows, which are not {frames} frames of equal height; give the number of "
            "frames that each image has, one below the other."
        )
    return x.unflatten(2, (frames, -1))


@torch.no_grad()
def nonzero_means(mask: Tensor) -> Tensor:
    """How strong soft masks are: the mean of their pixels above zero (Croitoru et al. 2017).

    Args:
        mask: float [B, ...], 0 or more.

    Returns:
        float [B]; 0 for an empty mask.
    """
    flat = mask.flatten(1)
    return flat.sum(1) / (flat > 0).sum(1).clamp(min=1)


@torch.no_grad()
def agreement(probs: Tensor) -> Tensor:
    """How much several masks of an image agree: the pixels of a common class over those that any takes for one.

    Args:
        probs: float [S, B, P, C], those of S students; the first class is the background, which is not counted.

    Returns:
        float32 [B] in [0, 1], the intersection over union of the masks; 0 where all are empty.
    """
    said = probs.argmax(-1)
    common = (said == said[:1]).all(0) & (said[0] != 0)
    return common.sum(1) / (said != 0).any(0).sum(1).clamp(min=1)


@torch.no_grad()
def best_share(scores: Tensor, allowed: Tensor, share: float) -> Tensor:
    """1 for the best share of those that are allowed, rounded up, and 0 elsewhere.

    Args:
        scores: float [B]; where it is 0, nothing is taken.
        allowed: bool [B].
        share: in (0, 1].

    Returns:
        float32 [B].
    """
    ranked = scores.where(allowed, -1.0).argsort(descending=True, stable=True)
    rank = torch.empty_like(ranked).scatter_(0, ranked, torch.arange(len(ranked), device=ranked.device))
    return ((rank < (share * allowed.sum()).ceil()) & allowed & (scores > 0)).float()
