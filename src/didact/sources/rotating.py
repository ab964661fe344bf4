"""The four turns of an input: changes that keep its class, and that can be told from each other."""

import torch
from torch import Tensor

from didact.errors import DataError

TURNS = 4
"""How many turns there are, the plain input included."""


def rotations(x: Tensor) -> Tensor:
    """Inputs turned by 0, 1, 2 and 3 quarters, one turn after the other.

    Args:
        x: square images float [B, C, H, H], rotated by 90 degrees a quarter; any other input [B, ..., F] is rolled
            along its last axis by F / 4 a quarter, rounded down.

    Returns:
        [4 B, ...]; the first B are the inputs as they are.

    Raises:
        DataError: rolls of fewer than 4 places, which are not all different.
    """
    if x.ndim == 4 and x.shape[-1] == x.shape[-2] and x.shape[-1] > 1:
        return torch.cat([torch.rot90(x, quarter, (2, 3)) for quarter in range(TURNS)])
    places = x.shape[-1]
    if places < TURNS:
        raise DataError(
            f"The inputs have the shape {list(x.shape[1:])}, which has no four turns that differ; they need at least "
            f"{TURNS} columns, or to be square images."
        )
    return torch.cat([x.roll(quarter * places // TURNS, -1) for quarter in range(TURNS)])
