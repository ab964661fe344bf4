"""The batch as the matrix or the table that a foreign model was fitted on."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from didact.errors import MissingExtraError, TeacherError
from didact.types import Batch, Column


def matrix(batch: Batch) -> np.ndarray:
    """The batch's `x` as float32 [B, F], flattened.

    Raises:
        TeacherError: the batch has no `x`.
    """
    if "x" not in batch:
        raise TeacherError(
            f"The teacher needs numbers, but the batch has {', '.join(sorted(batch))} and no 'x'. For text, use a "
            "Hugging Face teacher, or an ONNX file whose inputs are input_ids and attention_mask."
        )
    return batch["x"].detach().flatten(1).float().cpu().numpy()


def check_columns(wanted: Sequence[str], columns: Sequence[Column]) -> None:
    """Raise `TeacherError` with the missing columns unless the data have every column of a teacher."""
    missing = [name for name in wanted if name not in {column.name for column in columns}]
    if missing:
        have = ", ".join(repr(column.name) for column in columns) or "none with a name"
        raise TeacherError(
            f"The teacher was fitted on columns that the data lack: {', '.join(map(repr, missing))}. The data's "
            f"columns are: {have}. Name them alike, or fit the teacher on these."
        )


def table(x: np.ndarray, wanted: Sequence[str], columns: Sequence[Column]) -> Any:
    """The columns that a teacher was fitted on, decoded.

    Args:
        x: float [B, F], as the data's `x`.
        wanted: names of the columns, in the teacher's order.
        columns: the columns behind `x`.

    Returns:
        A pandas DataFrame: numbers (and booleans, which are 0 and 1) as float64; categories as their names, with None
        where no 0/1 column is set.

    Raises:
        TeacherError: a column is missing, or the width of `x` is not that of the columns.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise MissingExtraError("pandas", "data", "A teacher that was fitted on named columns") from error
    check_columns(wanted, columns)
    starts = dict(zip((c.name for c in columns), np.cumsum([0, *(c.width for c in columns)]).tolist(), strict=False))
    if x.shape[1] != sum(column.width for column in columns):
        raise TeacherError(
            f"The batch's x has {x.shape[1]} columns, but the data's description makes it "
            f"{sum(column.width for column in columns)}."
        )
    by_name, decoded = {column.name: column for column in columns}, dict[str, np.ndarray]()
    for name in wanted:
        column, start = by_name[name], starts[name]
        if not column.categories:
            decoded[name] = x[:, start].astype(np.float64)
            continue
        block = x[:, start : start + column.width]
        names = np.array([*column.categories, None], dtype=object)
        decoded[name] = names[np.where(block.max(1) > 0.5, block.argmax(1), column.width)]
    return pd.DataFrame(decoded)
