"""Families of classes of which some are unknown, among a background."""

import functools

import torch

from didact import hashing
from didact.preprocessing import plain_table
from didact.types import IGNORE, Examples
from didact.worlds._chance import normal, uniform

FAMILIES, KNOWN = 4, 12
_SIZE, _COLUMNS = 4000, 16
_APART, _WITHIN = 3.0, 0.75
_TRAINING, _VALIDATION = 0.4, 0.2
_OBJECTS, _NEW = 0.75, 1 / 3


@functools.cache
def hierarchy() -> Examples:
    """Tell known classes apart, and objects of unknown classes, which are like them, from a background, which is not.

    Real: nothing.

    Simulated: 4,000 rows in 16 columns. A quarter is background: normal numbers with the spread of all objects
    together. The others are objects of four families with three known classes and an unknown one each; a family is a
    place, a class a place near it, and a row lies around its class with a standard deviation of 1 in each column. In
    training, known objects have labels, and all other rows have none. Splits are fixed.

    Known: everything. The places of families are 3, and those of classes another 0.75 away in each column, in standard
    deviation. An unknown class is as far from the known ones of its family as these are from each other.

    Returns:
        `x` float32 [4000, 16], `label` int64 [4000] in 0 to 11, 12 (unknown) and 13 (background), `family` int64 [4000]
        (-1 for the background), `split` (see `didact.sources.split`) and `id`, int64 [4000].
    """
    numbers = torch.arange(_SIZE)
    chance = uniform(numbers, 4, 0, "planted:hierarchy")
    known = (chance[:, 1] * KNOWN).long()
    family = torch.where(chance[:, 2] < _NEW, (chance[:, 1] * FAMILIES).long(), known % FAMILIES)
    kind = torch.where(chance[:, 2] < _NEW, KNOWN + family, known)
    roots = _APART * normal(torch.arange(FAMILIES), _COLUMNS, 0, "planted:hierarchy: families")
    places = roots.repeat(KNOWN // FAMILIES + 1, 1)
    places = places + _WITHIN * normal(torch.arange(len(places)), _COLUMNS, 0, "planted:hierarchy: classes")
    there = chance[:, 0] < _OBJECTS
    noise = normal(numbers, _COLUMNS, 0, "planted:hierarchy: x")
    spread = (1.0 + places.square().mean(0)).sqrt()
    x = torch.where(there[:, None], places[kind] + noise, spread * noise)
    label = torch.where(there, kind.clamp(max=KNOWN), KNOWN + 1)
    split = torch.where(chance[:, 3] < _TRAINING, 0, torch.where(chance[:, 3] < _TRAINING + _VALIDATION, 1, 2))
    return Examples(
        tensors={
            "x": x,
            "label": torch.where((split == 0) & (label >= KNOWN), IGNORE, label),
            "family": torch.where(there, family, -1),
            "split": split,
            "id": hashing.of_rows(x),
        },
        task="classification",
        modality="table",
        classes=(*(f"class {number}" for number in range(KNOWN)), "unknown", "background"),
        preprocessing=plain_table(f"x{number}" for number in range(_COLUMNS)),
        name="planted:hierarchy",
    )
