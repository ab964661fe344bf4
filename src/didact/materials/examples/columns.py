"""The doctor's checks of a table's columns: those that say nothing, and those that say the target by themselves."""

from collections.abc import Iterator

import numpy as np
import torch

from didact import hashing
from didact.experiment.checking import Check
from didact.materials.examples.data import select_labelled
from didact.preprocessing import Category, Date, Dropped, Number, TablePreprocessing, cells
from didact.preprocessing import Rows as TableRows
from didact.types import Examples

LOOKED_AT = 2_000
"""Training rows from which columns are judged."""
LEAST = 50
"""Rows below which no column is suspected to tell the target."""
TELLING = 0.99
"""The share of rows, or of the variance, from which a column tells the target by itself."""
GAPS = 0.9
"""The share of missing cells from which a column says next to nothing."""
_NAMED = 8


def checks(train: Examples) -> Iterator[Check]:
    """Warn of columns that are constant, nearly empty, or tell the target alone.

    Args:
        train: the training examples; other data than tables that were read have no columns, and no check.
    """
    known = train.preprocessing
    if not isinstance(train.rows, TableRows) or not isinstance(known, TablePreprocessing):
        return
    found = [*_constant(known), *_empty(train, known), *_telling(train, known)]
    yield from (Check("warn", "columns", words) for words in found)
    if not found:
        count = sum(1 for _ in _used(known))
        yield Check("pass", "columns", f"{count} columns are used, and none of them tells the target alone.")


def _used(known: TablePreprocessing) -> Iterator[Number | Category | Date]:
    return (column for column in known.columns if not isinstance(column, Dropped))


def _sample(examples: Examples) -> tuple[TableRows, np.ndarray]:
    """Some rows, and their labels."""
    few = examples.select(torch.tensor(hashing.sample(examples.size, LOOKED_AT)))
    assert isinstance(few.rows, TableRows)
    return few.rows, few.tensors["label"].numpy()


def _constant(known: TablePreprocessing) -> Iterator[str]:
    same = [column for column in known.columns if isinstance(column, Dropped) and column.value is not None]
    if same:
        named = ", ".join(f"{column.name!r} (always {column.value!r})" for column in same[:_NAMED])
        yield (
            f"The same value is in every training row of: {named}. Nothing can be learned from that; look whether the "
            "file was cut or filtered, or leave the column out with drop (--drop)."
        )


def _empty(train: Examples, known: TablePreprocessing) -> Iterator[str]:
    rows, _ = _sample(train)
    for column in _used(known):
        share = float(np.isnan(_ordered(rows, column, known.missing)).mean())
        if share > GAPS:
            yield (
                f"The column {column.name!r} is missing in {share:.1%} of the training rows, which are filled with one "
                "value; look whether it was read as it should be, or leave it out with drop (--drop)."
            )


def _telling(train: Examples, known: TablePreprocessing) -> Iterator[str]:
    used, labelled = list(_used(known)), select_labelled(train)
    if len(used) < 2 or labelled.size < LEAST or train.task == "embedding":
        return
    rows, label = _sample(labelled)
    for column in used:
        values = _ordered(rows, column, known.missing)
        share = _told(values, label, train.task, alike=isinstance(column, Category))
        if share >= TELLING:
            what = f"{share:.1%} of the labels" if train.task == "classification" else f"the target to R2 = {share:.3f}"
            yield (
                f"The column {column.name!r} alone tells {what}, from its nearest value in another row. If it is not "
                "known before the target is (a number of the row, or the target in other words), leave it out with "
                "drop (--drop); if it is, no student is needed."
            )


def _ordered(rows: TableRows, column: Number | Category | Date, marks: tuple[str, ...]) -> np.ndarray:
    """A column as float64 [N], NaN where missing: numbers, seconds, or the codes of words."""
    cell = rows[column.name]
    if isinstance(column, Number):
        return cells.numbers_of(cell, marks)[0]
    if isinstance(column, Date):
        dates = cells.dates_of(cell, marks)[0]
        return np.where(np.isnat(dates), np.nan, dates.astype(np.int64).astype(np.float64))
    codes, _ = cells.words_of(cell, marks)
    return np.where(codes < 0, np.nan, codes.astype(np.float64))


def _told(values: np.ndarray, label: np.ndarray, task: str, *, alike: bool) -> float:
    """How well the label of the row with the nearest other value predicts each row's.

    Args:
        values: float64 [N], NaN where missing, where nothing is told.
        label: int64 or float [N].
        task: of the data.
        alike: whether only rows with the same value count, as categories have no order.

    Returns:
        The share of rows that are right; of a regression, R2. 0 where a constant answer would do.
    """
    there = np.flatnonzero(~np.isnan(values))
    if len(there) < 2 or np.unique(values[there]).size < 2:
        return 0.0
    order = there[np.argsort(values[there], kind="stable")]
    sorted_values, sorted_label = values[order], label[order]
    gap = np.concatenate([[np.inf], np.diff(sorted_values), [np.inf]])
    left = gap[:-1] <= gap[1:]
    place = np.arange(len(order)) + np.where(left, -1, 1)
    predicted = sorted_label[place]
    alone = (np.minimum(gap[:-1], gap[1:]) > 0) if alike else np.zeros(len(order), dtype=bool)
    if task == "classification":
        most = np.unique(label, return_counts=True)[1].max() / len(label)
        return float(((predicted == sorted_label) & ~alone).sum() / len(label)) if most < TELLING else 0.0
    if alone.any() or not label.var():
        return 0.0
    return float(1 - ((predicted - sorted_label) ** 2).sum() / ((label - label.mean()) ** 2).sum())
