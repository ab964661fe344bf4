"""A place that is to be found from what is around it, by the bearings of known landmarks."""

import functools

import torch
from torch import Tensor

from didact import hashing
from didact.preprocessing import SeriesPreprocessing
from didact.types import Examples
from didact.worlds._chance import normal, uniform

GRID = 4
"""The places are the squares of a grid with that side."""
COLUMNS, COLOURS = 32, 3
"""Bearings and colours of a panorama."""
_COUNT, _MARKS, _CARS, _NOISE, _NEAR = 1600, 9, 3, 0.15, 0.15


@functools.cache
def landmarks() -> Examples:
    """Tell in which of 16 squares of a town a panorama was taken, by the landmarks that it shows.

    Real: nothing.

    Simulated: 1,600 places, drawn evenly in a square town, each with its panorama of 32 bearings in three colours. Nine
    landmarks stand at fixed places; each is a bump in one colour, in the direction of the landmark from the place, and
    the higher the nearer it is. Three cars of any colour stand anywhere around, as high as a landmark at a middling
    distance. Every number has Gaussian noise with a deviation of 0.15, cut at 0 and 1.

    Known: where each panorama was taken, and where the landmarks stand (`town`). Two landmarks tell a place, so that
    half a panorama is mostly enough.

    Returns:
        `x` float32 [1600, 3, 32] in [0, 1], a series over bearings; `label` int64 [1600], `place` float32 [1600, 2] in
        [0, 1), `id` int64 [1600] from the contents of `x`.
    """
    ids = torch.arange(_COUNT)
    place = uniform(ids, 2, 0, "landmarks: place")
    at, colour = town()
    apart = at - place[:, None]
    x = _bumps(
        torch.atan2(apart[..., 0], apart[..., 1]), _NEAR / (_NEAR + apart.norm(dim=-1)), colour.expand(_COUNT, -1)
    )
    chance = uniform(ids, 2 * _CARS, 0, "landmarks: cars").view(_COUNT, 2, _CARS)
    x = x + _bumps(chance[:, 0] * 2 * torch.pi, torch.full_like(chance[:, 0], 0.3), (chance[:, 1] * COLOURS).long())
    noise = normal(ids, COLOURS * COLUMNS, 0, "landmarks: noise").view(_COUNT, COLOURS, COLUMNS)
    x = (x.float() + _NOISE * noise).clamp(0, 1)
    square = (place * GRID).long()
    return Examples(
        tensors={
            "x": x,
            "label": square[:, 0] * GRID + square[:, 1],
            "place": place.float(),
            "id": hashing.of_rows(x),
        },
        task="classification",
        modality="series",
        classes=tuple(f"{letter}{number}" for letter in "ABCD" for number in range(1, GRID + 1)),
        preprocessing=SeriesPreprocessing(
            length=COLUMNS, means=(0.0,) * COLOURS, stds=(1.0,) * COLOURS, standardise="none"
        ),
        name="landmarks",
    )


def town() -> tuple[Tensor, Tensor]:
    """Where the landmarks stand, float64 [9, 2] in [0, 1), and their colours, int64 [9]."""
    chance = uniform(torch.arange(_MARKS), 2, 0, "landmarks: town")
    return chance, torch.arange(_MARKS) % COLOURS


def _bumps(bearing: Tensor, height: Tensor, colour: Tensor) -> Tensor:
    """Panoramas of bumps at bearings in radians, [N, K] each, as float64 [N, COLOURS, COLUMNS]."""
    columns = torch.arange(COLUMNS) * 2 * torch.pi / COLUMNS
    bump = height[..., None] * (4.0 * ((columns - bearing[..., None]).cos() - 1.0)).exp()
    hue = torch.nn.functional.one_hot(colour, COLOURS).to(bump.dtype)
    return torch.einsum("nkw,nkc->ncw", bump, hue)
