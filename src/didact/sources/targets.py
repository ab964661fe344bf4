"""Targets: what is to be predicted, as numbers."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from didact.errors import DataError, TeacherError, nearest
from didact.types import IGNORE, Examples, Task

NAMES = ("label", "target", "y")
"""The target columns that are looked for when none is named."""
FEW = 50
"""Integers with more distinct values than this are taken for quantities, not classes."""


def encode_targets(
    values: np.ndarray, missing: np.ndarray, task: Task | None, name: str
) -> tuple[Tensor, tuple[str, ...], Task]:
    """Turn a column of targets into labels.

    Strings, booleans, and integers with at most `FEW` distinct values are classes; everything else is a quantity.
    Classes are sorted: by value where all are numbers, else as text.

    Args:
        values: [N] of booleans, integers, floats or strings; whatever stands in missing places.
        missing: bool [N].
        task: what it is to be; None infers it.
        name: the target's name, for messages.

    Returns:
        Labels (int64 [N] with `IGNORE`, or float32 [N] with NaN), the names of the classes, and the task.

    Raises:
        DataError: no target is there, all are the same, or they do not suit the task.
    """
    present = values[~missing]
    if not len(present):
        raise DataError(f"The target {name!r} has no value in any of its {len(values)} rows; give at least two.")
    task = task or _infer(present, bool(missing.any()))
    if task == "regression":
        return _quantities(values, missing, name), (), task
    label, classes = _classes(present, missing, name)
    return label, classes, task


def _infer(present: np.ndarray, has_gaps: bool) -> Task:
    kind = present.dtype.kind
    # A column of integers with gaps is often stored as floats, which have a value for "missing".
    if kind == "f" and not (has_gaps and bool(np.all(present == np.floor(present)))):
        return "regression"
    if kind in "iuf" and len(np.unique(present)) > FEW:
        return "regression"
    return "classification"


def _quantities(values: np.ndarray, missing: np.ndarray, name: str) -> Tensor:
    if values.dtype.kind not in "biuf":
        raise DataError(
            f"The target {name!r} holds text such as {str(values[~missing][0])!r}, so that task='regression' cannot "
            "work; use task='classification', or another target."
        )
    numbers = np.where(missing, np.nan, values.astype(np.float64)).astype(np.float32)
    if np.isinf(numbers).any():
        row = int(np.isinf(numbers).argmax()) + 1
        raise DataError(f"The target {name!r} is infinite in row {row}; correct it, or leave it empty.")
    if np.nanmin(numbers) == np.nanmax(numbers):
        raise DataError(_constant(name, f"{np.nanmin(numbers):g}"))
    return torch.from_numpy(numbers)


def _classes(present: np.ndarray, missing: np.ndarray, name: str) -> tuple[Tensor, tuple[str, ...]]:
    if present.dtype.kind not in "biuf":
        present = present.astype(str)
    values, inverse = np.unique(present, return_inverse=True)
    names = [_name(value) for value in values.tolist()]
    if len(names) < 2:
        raise DataError(_constant(name, names[0]))
    if len(names) > FEW and 2 * len(names) > len(present):
        raise DataError(
            f"The target {name!r} has {len(names)} distinct values in {len(present)} rows, such as {names[0]!r}, too "
            "many for classes; use task='regression' if it is a quantity, or another target."
        )
    order = sort_names(names)
    label = np.full(len(missing), IGNORE, dtype=np.int64)
    label[~missing] = np.argsort(order)[inverse]
    return torch.from_numpy(label), tuple(names[i] for i in order)


def _name(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _constant(name: str, value: str) -> str:
    return f"The target {name!r} is {value!r} in every row, so that there is nothing to learn; use another target."


def sort_names(names: list[str]) -> list[int]:
    """The positions of names in sorted order: by value where all are numbers, else as text."""
    try:
        return sorted(range(len(names)), key=lambda i: (float(names[i]), names[i]))
    except ValueError:
        return sorted(range(len(names)), key=names.__getitem__)


def encode_declared(
    values: np.ndarray, missing: np.ndarray, name: str, classes: tuple[str, ...]
) -> tuple[Tensor, tuple[str, ...], Task]:
    """Take over class numbers whose names the data set declares, in its own order.

    Args:
        values: integers [N]; below 0 is unlabelled.
        missing: bool [N].
        name: the target's name, for messages.
        classes: C names.

    Returns:
        As `encode_targets`.

    Raises:
        DataError: a number beyond the names, no label, or the same one in every row.
    """
    label = np.where(missing | (values < 0), IGNORE, values).astype(np.int64)
    present = np.unique(label[label != IGNORE])
    if not len(present):
        raise DataError(f"The target {name!r} has no value in any of its {len(values)} rows; give at least two.")
    if present[-1] >= len(classes):
        raise DataError(f"The target {name!r} has the class number {present[-1]}, but only {len(classes)} names.")
    if len(present) == 1:
        raise DataError(_constant(name, classes[present[0]]))
    return torch.from_numpy(label), classes, "classification"


def switch_target(examples: Examples, name: str, *, like: Examples | None = None) -> Examples:
    """Examples whose label is another of their tensors.

    Args:
        examples: any.
        name: of a tensor of class numbers, int64 [N].
        like: examples that hold every class, where these may lack some.

    Raises:
        TeacherError: there is no such tensor.
    """
    tensors = (like or examples).tensors
    known = [key for key, values in tensors.items() if values.dtype == torch.int64 and values.ndim == 1 and key != "id"]
    if name not in known or int(tensors[name].min()) < 0:
        raise TeacherError(
            f"A teacher is to tell {name!r}, but the data have no such tensor of class numbers. {nearest(name, known)}"
        )
    classes = tuple(map(str, range(int(tensors[name].max()) + 1)))
    return replace(examples.with_tensors(label=examples.tensors[name]), classes=classes, task="classification")
