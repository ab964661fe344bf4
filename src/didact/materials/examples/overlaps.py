"""The doctor's check of series that are windows of one recording, in two splits at once."""

from collections.abc import Iterator

import numpy as np
import torch

from didact import hashing
from didact.experiment.checking import Check
from didact.sources import Splits
from didact.types import Examples

LOOKED_AT = 1_000
"""Series of a split that are compared."""
STEPS = 8
"""Steps in a row whose values must all be the same."""
SHARE = 0.05
"""The share of test series that may share so many steps with training by chance."""


def checks(splits: Splits) -> Iterator[Check]:
    """Warn of test series that share a stretch with a training series, value for value."""
    if splits.train.modality != "series" or splits.train.shape[-1] < 2 * STEPS:
        return
    there = np.unique(_stretches(splits.train)[0])
    found, owner = _stretches(splits.test)
    count = min(splits.test.size, LOOKED_AT)
    shared = np.unique(owner[np.isin(found, there)]).size
    if shared > SHARE * count:
        yield Check(
            "warn",
            "overlaps",
            f"{shared} of {count} test series have {STEPS} steps in a row that a training series has too, as windows "
            "of one recording do. What was learned there is no evidence here: keep the windows of a recording together "
            "with group_column (--group-column), or cut them apart.",
        )
    else:
        yield Check("pass", "overlaps", "Test series share no stretch with training series.")


def _stretches(examples: Examples) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of the stretches of `STEPS` steps of some series, int64 [M], and whose they are.

    Stretches of few different values, such as constant ones, may be equal by chance and are left out.
    """
    few = examples.select(torch.tensor(hashing.sample(examples.size, LOOKED_AT)))
    x = few.tensors["x"].reshape(few.size, -1, few.shape[-1])
    various = x.unfold(-1, STEPS, 1).sort(-1).values.diff(dim=-1).ne(0).sum(-1) >= STEPS - 2
    bits = hashing.mix((x + 0.0).contiguous().view(torch.int32).long()).unfold(-1, STEPS, 1)
    hashes = (bits * torch.tensor([31**power for power in range(STEPS)])).sum(-1)
    owner = torch.arange(few.size)[:, None, None].expand_as(hashes)
    return hashes[various].numpy(), owner[various].numpy()
