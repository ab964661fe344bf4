"""A linear regression on inaccurate measurements, with a teacher's view of the accurate ones."""

import functools
import math

import torch

from didact import hashing
from didact.preprocessing import plain_table
from didact.types import Examples
from didact.worlds._chance import normal

_SIZE, _COLUMNS, _USED = 2000, 20, 5
_ERROR, _NOISE = 1.0, 0.5


@functools.cache
def linear() -> Examples:
    """Predict a weighted sum from inaccurate measurements, with a teacher that sees accurate ones.

    Real: nothing.

    Simulated: 2,000 examples. Twenty quantities are standard normal; the target is the sum of the first five over the
    square root of five, plus normal noise of standard deviation 0.5. `x` has each quantity with a normal error of
    standard deviation 1; the view `privileged` has it without.

    Known: everything. The best prediction is linear. From `x` it explains 40% of the variance, with the weights
    1 / (2 √5) for five columns and 0 for the others; from the view it explains 80%. `explained` gives both.

    Returns:
        `x` float32 [2000, 20], `privileged.x` alike, `label` float32 [2000], `id` int64 [2000] from the contents of
        `x`.
    """
    numbers = torch.arange(_SIZE)
    exact = normal(numbers, _COLUMNS, 0, "planted:linear: quantities")
    x = exact + _ERROR * normal(numbers, _COLUMNS, 0, "planted:linear: errors")
    noise = normal(numbers, 1, 0, "planted:linear: noise")[:, 0]
    label = exact[:, :_USED].sum(1) / math.sqrt(_USED) + _NOISE * noise
    return Examples(
        tensors={"x": x, "privileged.x": exact, "label": label, "id": hashing.of_rows(x)},
        task="regression",
        modality="table",
        preprocessing=plain_table(f"x{number}" for number in range(_COLUMNS)),
        name="planted:linear",
    )


def explained(*, privileged: bool) -> float:
    """The share of the target's variance that the best predictor explains.

    With a target of variance 1 + noise², the best predictor from x has the variance 1 / (1 + error²) (Fuller 1987,
    "Measurement error models", section 1.1).

    Args:
        privileged: from the accurate quantities, instead of from `x`.
    """
    return (1.0 if privileged else 1 / (1 + _ERROR**2)) / (1 + _NOISE**2)
