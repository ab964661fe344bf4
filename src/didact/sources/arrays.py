"""Data that are arrays already: tensors in memory, and `.npz` files."""

import dataclasses
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from didact import hashing
from didact.errors import DataError, nearest
from didact.preprocessing import Rows, SeriesRows, TableOptions, find_kinds, plain_table, refuse, scale_images
from didact.preprocessing.columns import FAR
from didact.sources import series, targets
from didact.sources.ids import hash_ids
from didact.sources.marks import UNLABELLED, mark_rows, marks_of_files
from didact.sources.request import Request
from didact.types import IGNORE, Examples, Modality, Standardisation, Task

Array = np.ndarray[Any, Any]


def as_array(given: object, name: str) -> Array:
    """Numbers or words of any kind as an array of numpy.

    Args:
        given: a tensor of any type and device, an array, a picture of pillow, or a list.
        name: what it is, for messages.

    Raises:
        DataError: A list whose rows have different lengths, or a tensor that is not dense.
    """
    if isinstance(given, Tensor):
        if given.layout != torch.strided or given.is_quantized:
            raise DataError(f"{name} is a tensor that is sparse or quantized; give its to_dense() or dequantize().")
        given = given.detach().cpu().resolve_conj().resolve_neg()
        return (given.float() if given.dtype == torch.bfloat16 else given).numpy()
    if isinstance(given, list | tuple) and any(isinstance(cell, str) for cell in given):
        # An array of strings would give each the width of the longest.
        return np.array([*given, None], dtype=object)[:-1]
    try:
        return np.asarray(given)
    except (ValueError, TypeError, RuntimeError) as error:
        raise DataError(
            f"{name} is {type(given).__name__}, which is no array of numbers: {' '.join(str(error).split())[:150]}. "
            "Give rows of one length, or say modality='series' if they are series."
        ) from None


def from_tensors(
    x: Tensor | Array,
    label: Tensor | Array,
    *,
    task: Task | None = None,
    ids: Tensor | Array | None = None,
    columns: TableOptions | None = None,
    modality: Modality | None = None,
    standardise: Standardisation = "channel",
    name: str = "tensors",
    target: str = "label",
) -> Examples:
    """Make examples from tensors or arrays.

    Args:
        x: numbers. [N, F] is a table; where it has gaps (NaN) or columns far from 0, it has no inputs until
            `fit_preprocessing` made them, as have series [N, channels, steps], or [N, steps] where `modality` says so.
            Images are [N, H, W], [N, C, H, W] or [N, H, W, C] with 1 or 3 channels: bytes, or floats in [0, 1].
        label: [N] of booleans, integers, floats or strings; NaN, None or an empty string is missing.
        task: inferred where None: see `targets.encode_targets`.
        ids: [N], what names each example; its content where None.
        columns: of a table, what is to be known of its columns, which are called x0, x1, and so on.
        modality: what x holds; where None, see `series.modality_of`.
        standardise: how series are scaled.
        name: where they came from, for people.
        target: what the targets are called, for messages.

    Returns:
        The examples.

    Raises:
        DataError: shapes that do not fit, values that are not finite, or unusable targets.
    """
    features = as_array(x, f"{name}: x")
    answers = label if hasattr(label, "iloc") else as_array(label, f"{name}: the target")
    if not len(features) or answers.shape != features.shape[:1]:
        raise DataError(
            f"{name}: x has shape {list(features.shape)} and the target {list(answers.shape)}; there must be one "
            "target for each row of x, and at least one row."
        )
    if features.dtype.kind not in "biuf":
        raise DataError(f"{name}: x is of the type {features.dtype}, but it must hold numbers.")
    found = targets.encode_targets(answers, task=task, name=target, missing=columns.missing if columns else ())
    taken, why = series.modality_of(features, modality, name)
    examples = Examples(
        tensors={"label": found.label},
        task=found.task,
        modality=taken,
        classes=found.classes,
        name=name,
        target=target,
        notes=(*found.notes, *why),
    )
    if taken == "series":
        values = features[:, None] if features.ndim == 2 else features
        return with_series(examples, SeriesRows(values, standardise), None if ids is None else hash_ids(ids, "ids"))
    if taken == "image":
        values = torch.from_numpy(scale_images(features, name))
    elif _needs_fitting(features) or columns is not None:
        rows = _rows(features, columns or TableOptions(), name)
        named = examples.with_tensors(id=rows.hashes if ids is None else hash_ids(ids, "ids"))
        return dataclasses.replace(named, rows=rows)
    else:
        values = torch.from_numpy(features.astype(np.float32))
        examples = dataclasses.replace(examples, preprocessing=plain_table(_names(features)))
    return examples.with_tensors(x=values, id=hashing.of_rows(values) if ids is None else hash_ids(ids, "ids"))


def with_series(examples: Examples, rows: SeriesRows, ids: Tensor | None) -> Examples:
    """Give examples their series as they came, and ids, int64 [N], by default of their contents."""
    named = examples.with_tensors(id=rows.hashes if ids is None else ids)
    return dataclasses.replace(named, modality="series", rows=rows, notes=(*examples.notes, *rows.notes))


def _needs_fitting(features: Array) -> bool:
    """Whether a table [N, F] has gaps, infinities, or a column that would lose too much as 32-bit floats."""
    if features.dtype.kind == "b" or features.dtype.itemsize < 4:
        return False
    with np.errstate(over="ignore"):
        single = features.astype(np.float32)
    if not np.isfinite(single).all():
        return True
    spread = features.std(axis=0, dtype=np.float64)
    exact = features.dtype.kind == "f" and features.dtype.itemsize == 4
    return not exact and bool(np.any((np.abs(features.mean(axis=0)) > FAR * spread) & (spread > 0)))


def _rows(features: Array, options: TableOptions, name: str) -> Rows:
    columns = dict(zip(_names(features), features.T, strict=True))
    kinds = find_kinds(columns, options)
    if kinds.complaints:
        refuse(kinds.complaints, name)
    return Rows(columns, kinds, options, name, framed=False)


def _names(features: Array) -> list[str]:
    return [f"x{i}" for i in range(features.shape[1])]


def load_arrays(path: Path, request: Request) -> Examples:
    """Read arrays from a `.npz` file or one of series: `x` (or `X`), the target, and ids where asked for.

    Arrays such as `privileged.x` are views of the same examples, here `privileged`, for teachers alone.

    Args:
        path: the file; it is never unpickled.
        request: the options of `sources.load`.

    Returns:
        The examples; see `from_tensors`.

    Raises:
        DataError: an array is missing, or cannot be used.
    """
    arrays, marks = _read_files(path, request)
    x = _pick(arrays, ("x", "X"), "x", path)
    names = targets.NAMES if request.target is None else (request.target,)
    label = _pick(arrays, names, "target", path)
    ids = None if request.id_column is None else _pick(arrays, (request.id_column,), "id_column", path)
    examples = from_tensors(
        x,
        label,
        task=request.task,
        ids=ids,
        columns=None if request.columns == TableOptions() else request.columns,
        modality=request.modality or (None if path.suffix.lower() == ".npz" else "series"),
        standardise=request.standardise,
        name=path.name,
        target=next(name for name in names if name in arrays),
    )
    if "domain" in marks:
        label = examples.tensors["label"].clone()
        label[marks["domain"] == 1] = torch.nan if label.is_floating_point() else IGNORE
        examples = examples.with_tensors(label=label)
    views = {name: array for name, array in arrays.items() if name.endswith(".x") and name != ".x"}
    seen = {name: _view(array, examples.size, f"{path.name}: {name}") for name, array in views.items()}
    split_tensors = mark_rows(lambda field, name: _pick(arrays, (name,), field, path), request)
    return examples.with_tensors(**seen, **split_tensors, **marks)


def _read_files(path: Path, request: Request) -> tuple[dict[str, Array], dict[str, Tensor]]:
    """The arrays of a file, and of those with its validation and test rows; and the tensor `split` of several."""
    given = request.files
    for number, field, other in given:
        if not other.is_file():
            instead = "" if number == UNLABELLED else "a fraction, or "
            raise DataError(f"{field} is {str(other)!r}, which is no file; give {instead}a file as {path.name}.")
    paths = [path, *(other for _, _, other in given)]
    files = [read(one) for one in paths]
    if len(files) == 1:
        return files[0], {}
    sizes = [len(next(iter(file.values()))) for file in files]
    if given[-1][0] == UNLABELLED:
        files[-1] = _with_answers(files[-1], files[0], sizes[-1], request)
    # Rows of the file itself are left to the fractions, which are 0 for what has a file.
    number = torch.repeat_interleave(torch.tensor([-1, *(number for number, _, _ in given)]), torch.tensor(sizes))
    return series.join(files, [one.name for one in paths]), marks_of_files(number)


def _with_answers(file: dict[str, Array], like: dict[str, Array], size: int, request: Request) -> dict[str, Array]:
    """A file without labels, with answers that are there to be hidden."""
    names = targets.NAMES if request.target is None else (request.target,)
    known = {name: np.repeat(like[name][:1], size, axis=0) for name in names if name in like}
    return {**{name: array for name, array in file.items() if name not in names}, **known}


def _view(array: Array, size: int, name: str) -> Tensor:
    """A view of N examples, as numbers or images."""
    values = array.astype(np.float32) if array.ndim == 2 and array.dtype.kind in "biuf" else scale_images(array, name)
    if len(values) != size or not np.isfinite(values).all():
        raise DataError(
            f"{name} has shape {list(array.shape)}, but must hold a row of finite numbers for each of {size} examples; "
            "correct it."
        )
    return torch.from_numpy(values)


def read(path: Path) -> dict[str, Array]:
    """The arrays of a `.npz` file or one of series, by name; a `DataError` where it cannot be read."""
    if path.suffix.lower() in series.SUFFIXES:
        return series.read(path)
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
