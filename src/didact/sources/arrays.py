"""Data that are arrays already: tensors in memory, and `.npz` files."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from didact import hashing
from didact.errors import DataError, nearest
from didact.sources import targets
from didact.sources.ids import hash_ids
from didact.sources.request import Request
from didact.types import Column, Examples, Modality, Task

Array = np.ndarray[Any, Any]


def from_tensors(
    x: Tensor | Array,
    label: Tensor | Array,
    *,
    task: Task | None = None,
    ids: Tensor | Array | None = None,
    allow_missing: bool = False,
    name: str = "tensors",
    target: str = "label",
) -> Examples:
    """Make examples from tensors or arrays.

    Args:
        x: numbers. [N, F] is a table. Images are [N, H, W], [N, C, H, W] or [N, H, W, C] with 1 or 3 channels: bytes,
            or floats in [0, 1].
        label: [N] of booleans, integers, floats or strings; NaN or an empty string is missing.
        task: inferred where None: see `targets.encode_targets`.
        ids: [N], what names each example; its content where None.
        allow_missing: let NaN through in a table, to be filled by `impute`.
        name: where they came from, for people.
        target: what the targets are called, for messages.

    Returns:
        The examples.

    Raises:
        DataError: shapes that do not fit, values that are not finite, or unusable targets.
    """
    features, answers = np.asarray(x), np.asarray(label)
    if not len(features) or answers.shape != features.shape[:1]:
        raise DataError(
            f"{name}: x has shape {list(features.shape)} and the target {list(answers.shape)}; there must be one "
            "target for each row of x, and at least one row."
        )
    if features.dtype.kind not in "biuf":
        raise DataError(f"{name}: x is of the type {features.dtype}, but it must hold numbers.")
    modality: Modality = "table" if features.ndim == 2 else "image"
    values = _table(features, allow_missing, name) if modality == "table" else _images(features, name)
    labels, classes, task = targets.encode_targets(answers, _missing(answers), task, target)
    return Examples(
        tensors={"x": values, "label": labels, "id": hashing.of_rows(values) if ids is None else hash_ids(ids, "ids")},
        task=task,
        modality=modality,
        classes=classes,
        columns=tuple(Column(f"x{i}") for i in range(values.shape[1])) if modality == "table" else (),
        name=name,
    )


def _missing(answers: Array) -> Array:
    if answers.dtype.kind == "f":
        return np.isnan(answers)
    return answers == "" if answers.dtype.kind == "U" else np.zeros(len(answers), dtype=bool)


def _table(features: Array, allow_missing: bool, name: str) -> Tensor:
    values = features.astype(np.float32)
    bad = np.isinf(values) if allow_missing else ~np.isfinite(values)
    if bad.any():
        row, column = (int(i) for i in np.argwhere(bad)[0])
        remedy = "correct it" if np.isinf(values[row, column]) else "correct it, or say how to fill it with impute"
        raise DataError(
            f"{name}: x is {values[row, column]} in row {row + 1}, column {column} (and in {int(bad.sum()) - 1} other "
            f"places); {remedy}."
        )
    return torch.from_numpy(values)


def _images(features: Array, name: str) -> Tensor:
    if features.ndim == 3:
        features = features[:, None]
    elif features.ndim == 4 and features.shape[1] not in (1, 3) and features.shape[3] in (1, 3):
        features = features.transpose(0, 3, 1, 2)
    if features.ndim != 4 or features.shape[1] not in (1, 3):
        raise DataError(
            f"{name}: x has shape {list(features.shape)}; a table is [N, F], and images are [N, H, W], [N, C, H, W] or "
            "[N, H, W, C] with 1 or 3 channels."
        )
    values = features.astype(np.float32) / (255 if features.dtype.kind in "iu" else 1)
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
        raise DataError(
            f"{name}: the images' values lie between {values.min():g} and {values.max():g}; they must be bytes, or "
            "floats in [0, 1]."
        )
    return torch.from_numpy(np.ascontiguousarray(values))


def load_npz(path: Path, request: Request) -> Examples:
    """Read arrays from a `.npz` file: `x` (or `X`), the target, and ids where asked for.

    Arrays such as `privileged.x` are views of the same examples, here `privileged`, for teachers alone.

    Args:
        path: the file; it is never unpickled.
        request: the options of `sources.load`.

    Returns:
        The examples; see `from_tensors`.

    Raises:
        DataError: an array is missing, or cannot be used.
    """
    arrays = _read(path)
    x = _pick(arrays, ("x", "X"), "x", path)
    names = targets.NAMES if request.target is None else (request.target,)
    label = _pick(arrays, names, "target", path)
    ids = None if request.id_column is None else _pick(arrays, (request.id_column,), "id_column", path)
    examples = from_tensors(
        x,
        label,
        task=request.task,
        ids=ids,
        allow_missing=request.impute is not None,
        name=path.name,
        target=next(name for name in names if name in arrays),
    )
    views = {name: array for name, array in arrays.items() if name.endswith(".x") and name != ".x"}
    seen = {name: from_tensors(array, label, name=f"{path.name}: {name}").tensors["x"] for name, array in views.items()}
    return examples.with_tensors(**seen) if seen else examples


def _read(path: Path) -> dict[str, Array]:
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path.name} is not a readable .npz file: it is no archive, or was cut short.")
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except (ValueError, OSError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        if "pickle" in str(error).lower():
            raise DataError(
                f"{path.name} holds pickled Python objects, which didact never loads, as they can run code; save "
                "arrays of numbers or of fixed-width strings."
            ) from None
        raise DataError(f"{path.name} is not a readable .npz file: {error}.") from error


def _pick(arrays: dict[str, Array], names: tuple[str, ...], field: str, path: Path) -> Array:
    for name in names:
        if name in arrays:
            return arrays[name]
    raise DataError(f"{path.name} has no array {' or '.join(names)} for {field}. {nearest(names[0], arrays)}")
