"""From a data frame to examples: which columns are numbers, categories or text, and what is wrong with them."""

import dataclasses
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from didact import hashing
from didact.errors import DataError, nearest
from didact.sources import targets
from didact.sources.ids import hash_ids
from didact.sources.request import Request
from didact.sources.text import from_texts
from didact.types import Column, Examples, Task

MOST_CATEGORIES = 100
"""A column of strings with more distinct values than this, or than half of its rows, is not taken for categories."""
_Kind = Literal["number", "category", "text"]
_REMEDY = (
    "if it is what the model should read, say so with text_column (--text-column); if it names the rows, with "
    "id_column (--id-column); else remove the column"
)


def encode(frame: Any, request: Request, *, name: str, classes: tuple[str, ...] = ()) -> Examples:
    """Make examples of a data frame.

    Args:
        frame: with nullable columns, as `tables.read` gives it; at least one row.
        request: the options of `sources.load`.
        name: of the data, for messages.
        classes: names of the classes where the target holds their numbers; below 0 is unlabelled.

    Returns:
        A table or text. Rows are named by the hash of their contents where there is no id column.

    Raises:
        DataError: see `sources.load`.
    """
    target, label, names, task = encode_target(frame, request, name=name, classes=classes)
    features = [str(column) for column in frame.columns if column not in (target, request.id_column)]
    if not features:
        raise DataError(f"{name} has no column beside the target {target!r} to learn from.")
    ids = None if request.id_column is None else hash_ids(cell_objects(frame[request.id_column]), request.id_column)
    examples = Examples(tensors={"label": label}, task=task, modality="table", classes=names, name=name)
    kinds: dict[str, _Kind] = {} if request.text_column else {column: _kind(frame[column]) for column in features}
    if text_column := request.text_column or _only_text(frame, kinds):
        texts = _texts(frame[text_column])
        examples = examples.with_tensors(id=hashing.of_strings(texts) if ids is None else ids)
        return from_texts(texts, request.tokenizer, examples)
    x, columns = _encode_columns(frame, kinds, request.impute is not None)
    ids = _content_ids(frame, kinds) if ids is None else ids
    return dataclasses.replace(examples, tensors={"x": x, "label": label, "id": ids}, columns=columns)


def encode_target(
    frame: Any, request: Request, *, name: str, classes: tuple[str, ...] = ()
) -> tuple[str, Tensor, tuple[str, ...], Task]:
    """Find the target column and turn it into labels.

    Args:
        frame: see `encode`.
        request: see `encode`.
        name: see `encode`.
        classes: see `encode`.

    Returns:
        The target's name; labels (int64 [N] with `IGNORE`, or float32 [N] with NaN); the classes; the task.

    Raises:
        DataError: an unknown column, or a target that cannot be learned.
    """
    target = _find_target(frame, request.target, name)
    for field, column in (("id_column", request.id_column), ("text_column", request.text_column)):
        _require(frame, field, column, name)
        if column == target:
            raise DataError(f"{field} and target are both {target!r}; they must be different columns.")
    series, task = frame[target], request.task
    missing = series.isna().to_numpy(dtype=bool)
    if series.dtype.kind == "f":
        numbers = _numbers(series)
        return target, *targets.encode_targets(numbers, np.isnan(numbers), task, target)
    if series.dtype.kind in "biu":
        values = series.to_numpy(dtype=bool if series.dtype.kind == "b" else np.int64, na_value=0)
        if classes:
            return target, *targets.encode_declared(values, missing, target, classes)
        return target, *targets.encode_targets(values, missing, task, target)
    if any(isinstance(cell, list | dict | np.ndarray) for cell in cell_objects(series)):
        raise DataError(f"The target {target!r} holds lists or objects; it must be one word or number a row.")
    words = _words(series)
    return target, *targets.encode_targets(words, words == "", task, target)


def _find_target(frame: Any, target: str | None, name: str) -> str:
    if target is not None:
        _require(frame, "target", target, name)
        return target
    found = [column for column in targets.NAMES if column in frame.columns]
    if len(found) != 1:
        raise DataError(
            f"{name}: target is not given, and {len(found) or 'none'} of its columns are called "
            f"{', '.join(targets.NAMES)}. Name one of {', '.join(map(str, frame.columns))}."
        )
    return found[0]


def _require(frame: Any, field: str, column: str | None, name: str) -> None:
    if column is not None and column not in frame.columns:
        raise DataError(f"{name} has no column {column!r} for {field}. {nearest(column, map(str, frame.columns))}")


def cell_objects(series: Any) -> np.ndarray:
    """The cells of a column as Python objects, None where one is missing; [N]."""
    return series.astype(object).where(series.notna(), None).to_numpy()


def _words(series: Any) -> np.ndarray:
    """The cells as strings, empty where one is missing."""
    return np.array(["" if cell is None else str(cell) for cell in cell_objects(series)])


def _numbers(series: Any) -> np.ndarray:
    """float64 [N]; NaN where missing. Strings must all read as numbers."""
    if series.dtype.kind not in "biuf":
        return np.array([np.nan if value is None else float(value) for value in cell_objects(series)])
    return series.to_numpy(dtype=np.float64, na_value=np.nan)


def _kind(series: Any) -> _Kind:
    """What a column is; raises `DataError` for one that is nothing that can be learned from."""
    if series.dtype.kind in "biuf":
        return "number"
    name, cells = series.name, cell_objects(series)
    words = [cell for cell in cells if isinstance(cell, str)]
    if len(words) < sum(cell is not None for cell in cells):
        odd = next(cell for cell in cells if cell is not None and not isinstance(cell, str))
        raise DataError(
            f"The column {name!r} holds {type(odd).__name__} such as {str(odd)[:40]!r}; turn it into numbers or words, "
            "or remove the column."
        )
    if not words:
        raise DataError(f"The column {name!r} has no value in any row; remove it.")
    bad = [row for row, cell in enumerate(cells) if cell is not None and not _is_numeral(cell)]
    if len(bad) <= len(words) / 2:
        _refuse_bad_cells(name, cells, bad)
        return "number"
    distinct, prose = len(set(words)), sum(len(word.split()) for word in words) >= 3 * len(words)
    if distinct <= min(MOST_CATEGORIES, max(len(words) / 2, 0 if prose else 2)):
        return "category"
    return "text" if prose else _refuse_words(name, cells, distinct)


def _is_numeral(cell: str) -> bool:
    try:
        return np.isfinite(float(cell))
    except ValueError:
        return False


def _refuse_bad_cells(name: str, cells: Any, bad: list[int]) -> None:
    if bad:
        named = ", ".join(f"row {row + 1}: {cells[row][:40]!r}" for row in bad[:3])
        raise DataError(
            f"The column {name!r} holds numbers, but {len(bad)} of its {len(cells)} cells hold something else "
            f"({named}{', ...' if len(bad) > 3 else ''}); correct them, or leave them empty and choose impute."
        )


def _refuse_words(name: str, cells: Any, distinct: int) -> _Kind:
    row = next(row for row, cell in enumerate(cells) if cell is not None)
    raise DataError(
        f"The column {name!r} holds text where numbers belong: {distinct} different strings in {len(cells)} rows, such "
        f"as {cells[row][:40]!r} in row {row + 1}, too many for categories (at most {MOST_CATEGORIES}, and half of the "
        f"rows); {_REMEDY}."
    )


def _only_text(frame: Any, kinds: dict[str, _Kind]) -> str | None:
    """The column of free text, where there is one and nothing beside it would be left out in silence."""
    texts = [column for column, kind in kinds.items() if kind == "text"]
    if not texts or len(kinds) == 1:
        return texts[0] if texts else None
    others = [column for column in kinds if column != texts[0]]
    row = int(frame[texts[0]].notna().to_numpy().argmax())
    raise DataError(
        f"The column {texts[0]!r} holds text where numbers belong, such as {frame[texts[0]].iloc[row][:40]!r} in row "
        f"{row + 1}, beside other columns ({', '.join(map(repr, others[:5]))}), which would not be used with it; "
        f"{_REMEDY}."
    )


def _texts(series: Any) -> list[str]:
    cells = cell_objects(series)
    empty = [row for row, cell in enumerate(cells) if cell is None or not str(cell).strip()]
    if empty:
        raise DataError(
            f"The text column {series.name!r} is empty in {len(empty)} of {len(cells)} rows, first in row "
            f"{empty[0] + 1}; remove these rows."
        )
    return [str(cell) for cell in cells]


def _encode_columns(frame: Any, kinds: dict[str, _Kind], allow_missing: bool) -> tuple[Tensor, tuple[Column, ...]]:
    blocks, columns = [], []
    for name, kind in kinds.items():
        column, block = _one_hot(frame[name]) if kind == "category" else (Column(name), _numbers(frame[name])[:, None])
        columns.append(column)
        blocks.append(block)
    _refuse_gaps(columns, blocks, allow_missing)
    return torch.from_numpy(np.concatenate(blocks, axis=1, dtype=np.float32, casting="same_kind")), tuple(columns)


def _one_hot(series: Any) -> tuple[Column, np.ndarray]:
    """0/1 for each category, in sorted order; NaN in all of them where the cell is missing."""
    missing = series.isna().to_numpy(dtype=bool)
    words = _words(series)
    categories, codes = np.unique(words[~missing], return_inverse=True)
    block = np.full((len(words), len(categories)), np.nan)
    block[~missing] = np.eye(len(categories))[codes]
    return Column(str(series.name), tuple(categories.tolist())), block


def _refuse_gaps(columns: list[Column], blocks: list[np.ndarray], allow_missing: bool) -> None:
    gaps = {column.name: np.isnan(block[:, 0]) for column, block in zip(columns, blocks, strict=True)}
    gaps = {name: gap for name, gap in gaps.items() if gap.any()}
    for name, gap in gaps.items():
        if gap.all():
            raise DataError(f"The column {name!r} has no value in any row; remove it.")
    if gaps and not allow_missing:
        named = ", ".join(f"{name!r} ({gap.sum()}, first in row {gap.argmax() + 1})" for name, gap in gaps.items())
        raise DataError(
            f"Values are missing in {named}; fill them in, or choose impute (mean, median or most_frequent, computed "
            "on the training rows)."
        )
    largest = float(np.finfo(np.float32).max)
    for column, block in zip(columns, blocks, strict=True):
        if (bad := np.abs(block[:, 0]) > largest).any():
            row = int(bad.argmax())
            raise DataError(
                f"The column {column.name!r} is {block[row, 0]:g} in row {row + 1}, which is not finite as a 32-bit "
                "number; correct it, or leave the cell empty and choose impute."
            )


def _content_ids(frame: Any, kinds: dict[str, _Kind]) -> Tensor:
    """Hashes of the rows as they were given: new rows (and so new categories) change none, nor does column order."""
    cells = []
    for name in sorted(kinds):
        series = frame[name]
        if kinds[name] == "number":
            numbers = _numbers(series) + 0.0
            cells.append(np.where(np.isnan(numbers), np.nan, numbers).view(np.int64))
        else:
            words, codes = np.unique(_words(series), return_inverse=True)
            cells.append(hashing.of_strings(words.tolist()).numpy()[codes])
    return hashing.of_rows(np.stack(cells, axis=1))
