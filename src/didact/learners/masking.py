"""Random masks of inputs, for nets that learn to reconstruct them."""

import torch
from torch import Tensor


def random_mask(x: Tensor, share: float, *, patch: int = 1) -> Tensor:
    """Draw a random mask for each example from the global generator; all hide equally many parts.

    Args:
        x: float [B, C, H, W], where squares are hidden in all channels; or [B, ...], where single elements are.
        share: the hidden share, in (0, 1); at least one part is hidden and one is not, where there are two.
        patch: side of the squares in pixels; those at the right and lower edges may be smaller.

    Returns:
        bool, the shape of `x`.
    """
    image = x.ndim == 4
    grid = [-(-side // patch) for side in x.shape[2:]] if image else list(x.shape[1:])
    parts = torch.Size(grid).numel()
    count = max(1, min(round(share * parts), parts - 1))
    order = torch.rand(len(x), parts, device=x.device).argsort(1)
    hidden = torch.zeros_like(order, dtype=torch.bool).scatter_(1, order[:, :count], True)
    if not image:
        return hidden.view(x.shape)
    squares = hidden.view(len(x), 1, *grid).repeat_interleave(patch, 2).repeat_interleave(patch, 3)
    return squares[:, :, : x.shape[2], : x.shape[3]].expand_as(x)


def nested_mask(width: int, spread: float, *, device: torch.device | None = None) -> Tensor:
    """Draw how many of the first features are kept, for nested dropout (Rippel, Gelbart & Adams 2014).

    The number k, from 1 to `width`, is drawn from the global generator with chances in proportion to
    exp(-(k / (spread · width))^2), as Chen et al. (2022) do. Early features then have to do most of the work.

    Args:
        width: the number of features, D.
        spread: above 0, relative to the width.
        device: of the result.

    Returns:
        float32 [D], ones and then zeros.
    """
    place = torch.arange(1, width + 1, device=device)
    chances = (-(place / (spread * width)).square()).exp()
    return (place <= 1 + torch.multinomial(chances, 1)).float()


def field_of_view(x: Tensor, least: float, most: float) -> Tensor:
    """Draw which part of the last dimension of each example is seen, as of a panorama: its ends meet.

    Args:
        x: float [B, ..., W].
        least: the smallest share that is seen, in (0, 1].
        most: the greatest; the share is even between the two, and at least one place is seen.

    Returns:
        bool [B, 1, ..., W], drawn from the global generator.
    """
    width = x.shape[-1]
    share, start = torch.rand(2, len(x), 1, device=x.device)
    seen = ((least + (most - least) * share) * width).round().clamp(min=1)
    place = (torch.arange(width, device=x.device) - (start * width).floor()) % width
    return (place < seen).view(len(x), *[1] * (x.ndim - 2), width)
