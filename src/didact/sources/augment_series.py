"""Augmentation of batches of series, with random numbers from a generator that is given.

The transformations and their usual strengths are those that Iwana & Uchida (2021) compare, "An empirical survey of data
augmentation for time series classification with neural networks", after Um et al. (2017) and Le Guennec et al. (2016).
All take series [B, C, T] and give as many; what moves time moves all channels of a series alike.
"""

import functools
from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

KNOTS = 6
"""Of smooth random curves: 4 inside, and one at each end."""
SLOWEST = 0.1
"""The least speed of warped time, whose mean is 1."""


class Transform(Protocol):
    """One of the functions below."""

    def __call__(self, x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
        """Series [B, C, T] to series [B, C, T]."""
        ...


def jitter(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Add Gaussian noise of a standard deviation to every number."""
    return torch.add(x, _normal(x.shape, x, generator), alpha=strength)


def scaling(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Multiply each channel of each series by a factor from N(1, strength²)."""
    return x * (1 + strength * _normal((*x.shape[:2], 1), x, generator))


def magnitude_warp(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Multiply each channel by a smooth curve: a cubic spline through knots from N(1, strength²)."""
    return x * _curves((*x.shape[:2], KNOTS), x, strength, generator)


def time_warp(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Let time pass at a speed that is a smooth curve, as in `magnitude_warp`; both ends stay where they are.

    Departure: Um et al. let the first step move with the speed there.
    """
    speed = _curves((len(x), KNOTS), x, strength, generator).clamp(min=SLOWEST)
    places = (speed.cumsum(1) - speed[:, :1]) / (speed[:, 1:].sum(1, keepdim=True).clamp(min=SLOWEST))
    return resample(x, places * (x.shape[2] - 1))


def window_slice(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Cut a window that is shorter by a share of the length, anywhere, and stretch it to the whole length."""
    cut = strength * (x.shape[2] - 1)
    start = cut * torch.rand(len(x), 1, generator=generator, device=x.device, dtype=x.dtype)
    steps = torch.linspace(0, 1, x.shape[2], device=x.device, dtype=x.dtype)
    return resample(x, start + steps * (x.shape[2] - 1 - cut))


def window_warp(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Let a window of a share of the length, anywhere, pass at half or double speed; the rest makes room for it."""
    last = x.shape[2] - 1
    chance = torch.rand(2, len(x), 1, generator=generator, device=x.device, dtype=x.dtype)
    window = strength * last
    start, factor = chance[0] * (last - window), torch.where(chance[1] < 0.5, 0.5, 2.0).to(x)
    # Where the steps of the result lie on the warped axis, and from there on the axis of `x`.
    steps = torch.linspace(0, 1, x.shape[2], device=x.device, dtype=x.dtype) * (last - window + factor * window)
    inside = start + (steps - start) / factor
    places = torch.where(steps < start + factor * window, inside, steps - factor * window + window)
    return resample(x, torch.where(steps < start, steps, places))


def roll(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Begin somewhere else: what is shifted beyond the end, by up to half a share of the length, comes in before it."""
    last = x.shape[2]
    by = ((torch.rand(len(x), 1, generator=generator, device=x.device) - 0.5) * strength * last).round().long()
    places = (torch.arange(last, device=x.device) - by) % last
    return x.gather(2, places[:, None].expand(-1, x.shape[1], -1))


def resample(x: Tensor, places: Tensor) -> Tensor:
    """Series at other places, by linear interpolation.

    Args:
        x: float [B, C, T].
        places: float [B, S], in [0, T - 1].

    Returns:
        float [B, C, S].
    """
    left = places.floor().clamp(0, max(x.shape[2] - 2, 0))
    share = (places - left).clamp(0, 1)[:, None]
    at = left.long()[:, None].expand(-1, x.shape[1], -1)
    start, end = x.gather(2, at), x.gather(2, (at + 1).clamp(max=x.shape[2] - 1))
    return torch.lerp(start, end, share.expand_as(start))


@functools.lru_cache(maxsize=64)
def spline(knots: int, length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """What turns K knots at equal distances into a natural cubic spline at T steps, [K, T]."""
    # Second derivatives at the knots, 0 at both ends, in units of the distance between knots.
    system = torch.eye(knots, dtype=torch.float64)
    given = torch.zeros(knots, knots, dtype=torch.float64)
    for knot in range(1, knots - 1):
        system[knot, knot - 1 : knot + 2] = torch.tensor([1.0, 4.0, 1.0], dtype=torch.float64)
        given[knot, knot - 1 : knot + 2] = torch.tensor([6.0, -12.0, 6.0], dtype=torch.float64)
    bend = torch.linalg.solve(system, given)
    places = torch.linspace(0, knots - 1, length, dtype=torch.float64)
    left = places.floor().clamp(max=knots - 2)
    after = (places - left)[:, None]
    before, at = 1 - after, left.long()
    values = torch.eye(knots, dtype=torch.float64)
    straight = before * values[at] + after * values[at + 1]
    curved = (before**3 - before) * bend[at] + (after**3 - after) * bend[at + 1]
    return (straight + curved / 6).T.to(dtype=dtype, device=device)


def _curves(shape: tuple[int, ...], x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    knots = 1 + strength * _normal(shape, x, generator)
    return knots @ spline(KNOTS, x.shape[2], x.dtype, x.device)


def _normal(shape: tuple[int, ...], x: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, device=x.device, dtype=x.dtype)


TRANSFORMS: Mapping[str, Transform] = {
    "jitter": jitter,
    "scaling": scaling,
    "window_slice": window_slice,
    "window_warp": window_warp,
    "magnitude_warp": magnitude_warp,
    "time_warp": time_warp,
    "roll": roll,
}
STRENGTHS: Mapping[str, Mapping[str, float]] = {
    **{name: {name: strength} for name, strength in zip(TRANSFORMS, (0.03, 0.1, 0.1, 0.1, 0.2, 0.2, 1.0), strict=True)},
    "weak": {"scaling": 0.1, "jitter": 0.03},
    "strong": {"window_slice": 0.1, "time_warp": 0.2, "magnitude_warp": 0.2, "jitter": 0.1},
}
"""What each view does, one after the other, and how strongly."""


def augment_series(x: Tensor, name: str, unit: Tensor, generator: torch.Generator) -> Tensor:
    """Change series as a view says.

    Args:
        x: float [B, C, T].
        name: one of `STRENGTHS`.
        unit: float [C, 1], the standard deviation of each channel, in which noise is measured.
        generator: on the device of `x`.

    Returns:
        As `x`.
    """
    x = x / unit
    for transform, strength in STRENGTHS[name].items():
        x = TRANSFORMS[transform](x, strength, generator)
    return x * unit


def reorder(x: Tensor, segments: int, share: float) -> Tensor:
    """Let parts of series pass backwards, each with a chance, drawn by torch's own generator.

    Args:
        x: float [B, C, T].
        segments: the number of equal parts; steps that are left over stay at the end.
        share: of the parts that are turned around, in the mean.

    Returns:
        As `x`.
    """
    length = x.shape[2] // segments
    parts = x[:, :, : length * segments].unflatten(2, (segments, length))
    turned = torch.rand(len(x), 1, segments, 1, device=x.device) < share
    found = torch.where(turned, parts.flip(3), parts).flatten(2)
    return torch.cat([found, x[:, :, length * segments :]], 2)
