"""Ids that the data bring along."""

import numpy as np
import torch
from torch import Tensor

from didact import hashing
from didact.errors import DataError

_REMEDY = "Leave out id_column to name rows by their contents."


def hash_ids(values: Tensor | np.ndarray, field: str, remedy: str = _REMEDY) -> Tensor:
    """Hash what names each example.

    Args:
        values: [N] of integers or strings (the integer 7 and the string "7" are the same), all different.
        field: the column's name, for messages.
        remedy: what else would work, as a sentence.

    Returns:
        int64 [N].

    Raises:
        DataError: an id is missing or comes twice.
    """
    names = [word_of(value) for value in values.tolist()]
    for row, name in enumerate(names):
        if name is None:
            raise DataError(f"The id column {field!r} is empty in row {row + 1}; every row needs an id of its own.")
    ids = hashing.of_strings(name for name in names if name is not None)
    _, first, counts = np.unique(ids.numpy(), return_index=True, return_counts=True)
    if (counts > 1).any():
        row = int(first[counts > 1].min())
        rows = (torch.nonzero(ids == ids[row])[:, 0] + 1).tolist()
        raise DataError(
            f"The id column {field!r} is {names[row]!r} in rows {', '.join(map(str, rows[:5]))}; ids must all be "
            f"different. {remedy}"
        )
    return ids


def word_of(value: object) -> str | None:
    """A cell as the word that names a row; None where it is empty."""
    if value is None or value != value or value == "":
        return None
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
