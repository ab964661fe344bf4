"""A damped oscillator under a periodic force, whose largest displacement is known as a function of two numbers."""

import functools
import math

import torch
from torch import Tensor

from didact import hashing
from didact.preprocessing import plain_table
from didact.types import Examples
from didact.worlds._chance import uniform

DAMPING, FORCE, START = 0.5, 0.5, 0.5
STIFFNESS, FREQUENCY = (1.0, 3.0), (0.0, 2.0)
"""The ranges of the two numbers."""
SECONDS, MOMENTS = 20.0, 400
DEGREE = 6
"""Of the polynomials: all products of two Legendre polynomials with degrees that add up to this or less."""
_SIZE = 2000


@functools.cache
def oscillator() -> Examples:
    """Predict the largest displacement of a damped oscillator in its first 20 seconds, from polynomials of two numbers.

    Real: nothing.

    Simulated: 2,000 oscillators x'' + x' / 2 + k x = cos(w t) / 2 from x = 1/2 at rest, after Shimizu et al. (2024),
    "Improved active learning via dependent leverage score sampling". The stiffness k is drawn evenly from 1 to 3, the
    frequency w from 0 to 2. `x` has the 27 products of their Legendre polynomials with a degree of 1 to 6, each with
    a mean square of about 1, so that a linear model of them is a polynomial.

    Known: everything, by `displacement`. The best polynomial explains about 86% of the variance: the displacement has a
    ridge at resonance, where w² is near k.

    Returns:
        `x` float32 [2000, 27], `place` float32 [2000, 2] (k and w, scaled to -1 to 1), `label` float32 [2000], `id`
        int64 [2000] from the contents of `x`.
    """
    place = 2.0 * uniform(torch.arange(_SIZE), 2, 0, "oscillator") - 1.0
    x = polynomials(place).float()
    stiffness, frequency = (
        low + (high - low) * (column + 1.0) / 2.0
        for (low, high), column in zip((STIFFNESS, FREQUENCY), place.unbind(1), strict=True)
    )
    label = displacement(stiffness, frequency).float()
    return Examples(
        tensors={"x": x, "place": place.float(), "label": label, "id": hashing.of_rows(x)},
        task="regression",
        modality="table",
        preprocessing=plain_table(f"x{number}" for number in range(x.shape[1])),
        name="oscillator",
    )


def polynomials(place: Tensor) -> Tensor:
    """Products of Legendre polynomials of two numbers, with a degree of 1 to `DEGREE`.

    Args:
        place: float64 [N, 2] from -1 to 1.

    Returns:
        float64 [N, 27]; for places that are spread evenly, each has a mean square of 1, and none goes with another.
    """
    by_degree = [torch.ones_like(place), place]
    for n in range(1, DEGREE):
        by_degree.append(((2 * n + 1) * place * by_degree[n] - n * by_degree[n - 1]) / (n + 1))
    scaled = [math.sqrt(2 * n + 1) * values for n, values in enumerate(by_degree)]
    pairs = [(i, n - i) for n in range(1, DEGREE + 1) for i in range(n + 1)]
    return torch.stack([scaled[i][:, 0] * scaled[j][:, 1] for i, j in pairs], 1)


def displacement(stiffness: Tensor, frequency: Tensor) -> Tensor:
    """The largest displacement in the first 20 seconds, by the exact solution at 400 moments.

    The solution is the steady oscillation and a damped one that makes up for the start.

    Args:
        stiffness: float64 [N], above DAMPING² / 4.
        frequency: float64 [N].

    Returns:
        float64 [N].
    """
    time = torch.linspace(0.0, SECONDS, MOMENTS, dtype=torch.float64)
    k, w = stiffness[:, None], frequency[:, None]
    # The steady part is a cos(wt) + b sin(wt).
    size = (k - w**2).square() + (DAMPING * w).square()
    a, b = FORCE * (k - w**2) / size, FORCE * DAMPING * w / size
    own = (k - DAMPING**2 / 4).sqrt()
    c = START - a
    d = (DAMPING / 2 * c - b * w) / own
    damped = torch.exp(-DAMPING / 2 * time) * (c * torch.cos(own * time) + d * torch.sin(own * time))
    return (a * torch.cos(w * time) + b * torch.sin(w * time) + damped).abs().amax(1)
