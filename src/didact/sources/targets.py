"""Targets: what is to be predicted, as numbers."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from didact.errors import DataError, TeacherError, nearest
from didact.preprocessing import cells
from didact.preprocessing.cells import Column
from didact.types import IGNORE, Examples, Task

NAMES = ("label", "target", "y")
"""The target columns that are looked for when none is named."""
FEW = 50
"""Floats of more distinct values than this are taken for quantities, even where all are whole numbers."""


@dataclass(frozen=True)
class Target:
    """What is to be predicted of N examples."""

    label: Tensor
    """int64 [N] with `IGNORE` where it is missing; float64 [N] with NaN for a regression."""
    classes: tuple[str, ...]
    """The names of the classes; empty for a regression."""
    task: Task
    notes: tuple[str, ...] = ()
    """How it was decided what it is, where its type leaves that open, as a sentence."""


def encode_targets(
    answers: Column,
    *,
    task: Task | None,
    name: str,
    missing: Iterable[str] = (),
    classes: tuple[str, ...] = (),
    unlabelled: Callable[[], tuple[str, ...]] = tuple,
) -> Target:
    """Turn a column of targets into labels.

    Words, booleans, categories and whole numbers are classes; numbers with a fraction are quantities. Of floats that
    are all whole, at most `FEW` distinct ones are classes. Classes are sorted: by value where all are numbers, else as
    text.

    Args:
        answers: [N], of any type; a numpy array or a pandas Series.
        task: what it is to be; None infers it.
        name: the target's name, for messages.
        missing: words that count as missing, besides an empty cell.
        classes: names of the classes, where the target may hold their numbers; below 0 is unlabelled.
        unlabelled: gives the names of the classes where no row has a label; none if they are not known.

    Of an embedding, which a teacher makes, no target is read.

    Raises:
        DataError: no target is there, all are the same, or they do not suit the task.
    """
    if task == "embedding":
        return Target(torch.full((len(answers),), IGNORE), (), task)
    if classes and answers.dtype.kind in cells.NUMERIC:
        return _declared(answers, name, classes)
    values, gaps = _values(answers, name, tuple(missing))
    present = values[~gaps]
    if not len(present) and task == "regression":
        return Target(torch.full((len(values),), torch.nan, dtype=torch.float64), (), "regression")
    if not len(present):
        names = unlabelled()
        if len(names) < 2:
            raise DataError(
                f"The target {name!r} has no value in any of its {len(values)} rows; give at least two, or a teacher "
                "with the names of its classes in classes (--classes) or with task='regression' (--task)."
            )
        return Target(torch.full((len(values),), IGNORE), names, "classification")
    inferred, notes = _infer(present, name)
    if (task or inferred) == "regression":
        return Target(_quantities(values, gaps, name), (), "regression", () if task else notes)
    label, classes = _classes(present, gaps, name)
    return Target(label, classes, "classification", () if task else notes)


def _values(answers: Column, name: str, missing: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """A target as booleans, integers, floats or words [N], and where it is missing, bool [N]."""
    if answers.dtype.kind in cells.NUMERIC:
        numbers, _ = cells.numbers_of(answers, missing)
        gaps = np.isnan(numbers)
        kind = answers.dtype.kind
        if kind == "f":
            return numbers, gaps
        whole = answers if isinstance(answers, np.ndarray) else answers.to_numpy(dtype=_WHOLE[kind], na_value=0)
        return whole, gaps
    try:
        codes, words = cells.words_of(answers, missing)
    except DataError:
        raise DataError(f"The target {name!r} holds lists or objects; it must be one word or number a row.") from None
    numbers = [cells.number_of(word) for word in words]
    known = [number is not None or word in cells.MARKS for word, number in zip(words, numbers, strict=True)]
    if not hasattr(answers.dtype, "categories") and all(known) and set(numbers) != {None}:
        kept = np.array([0.0 if number is None else number for number in numbers])
        gap = np.array([*(number is None for number in numbers), True])[codes]
        whole = all(word.lstrip("+-").isdigit() and len(word) < 16 for word in words if word not in cells.MARKS)
        return np.append(kept.astype(np.int64) if whole else kept, 0)[codes], gap
    return np.array([*words, ""], dtype=object)[codes], codes < 0


_WHOLE = {"b": np.bool_, "i": np.int64, "u": np.uint64}


def _infer(present: np.ndarray, name: str) -> tuple[Task, tuple[str, ...]]:
    kind = present.dtype.kind
    if kind in "bO":
        return "classification", ()
    distinct = len(np.unique(present))
    if kind in "iu" or (distinct <= FEW and bool(np.all(present == np.floor(present)))):
        return "classification", (
            f"The target {name!r} holds whole numbers, which are taken for {distinct} classes; say task='regression' "
            "(--task) if they are quantities.",
        )
    if np.all(present == np.floor(present)):
        return "regression", (
            f"The target {name!r} holds {distinct} whole numbers as floats, more than {FEW}, which are taken for "
            "quantities; say task='classification' (--task) if they are classes.",
        )
    return "regression", ()


def _quantities(values: np.ndarray, missing: np.ndarray, name: str) -> Tensor:
    if values.dtype.kind not in "biuf":
        raise DataError(
            f"The target {name!r} holds text such as {str(values[~missing][0])!r}, so that task='regression' cannot "
            "work; use task='classification', or another target."
        )
    numbers = np.where(missing, np.nan, values.astype(np.float64))
    if np.isinf(numbers).any():
        row = int(np.isinf(numbers).argmax()) + 1
        raise DataError(f"The target {name!r} is infinite in row {row}; correct it, or leave it empty.")
    if np.nanmin(numbers) == np.nanmax(numbers):
        raise DataError(_constant(name, f"{np.nanmin(numbers):g}"))
    return torch.from_numpy(numbers)


def _classes(present: np.ndarray, missing: np.ndarray, name: str) -> tuple[Tensor, tuple[str, ...]]:
    values, inverse = np.unique(present, return_inverse=True)
    names = [str(cells.word_of(value)) for value in values.tolist()]
    if len(names) < 2:
        raise DataError(_constant(name, names[0]))
    if len(names) > FEW and 2 * len(names) > len(present):
        raise DataError(
            f"The target {name!r} has {len(names)} distinct values in {len(present)} rows, such as {names[0]!r}, too "
            "many for classes; use task='regression' if it is a quantity, or another target."
        )
    numerals = all(cells.number_of(name) is not None for name in names)
    order = sort_names(names) if numerals else range(len(names))
    label = np.full(len(missing), IGNORE, dtype=np.int64)
    label[~missing] = np.argsort(order)[inverse]
    return torch.from_numpy(label), tuple(names[i] for i in order)


def _constant(name: str, value: str) -> str:
    return f"The target {name!r} is {value!r} in every row, so that there is nothing to learn; use another target."


def sort_names(names: list[str]) -> list[int]:
    """The positions of names in sorted order: by value where all are numbers, else as text."""
    try:
        return sorted(range(len(names)), key=lambda i: (float(names[i]), names[i]))
    except ValueError:
        return sorted(range(len(names)), key=names.__getitem__)


def _declared(answers: Column, name: str, classes: tuple[str, ...]) -> Target:
    """Class numbers whose names the data set declares, in its own order."""
    numbers, _ = cells.numbers_of(answers)
    label = np.where(numbers >= 0, numbers, IGNORE).astype(np.int64)
    present = np.unique(label[label != IGNORE])
    if not len(present):
        raise DataError(f"The target {name!r} has no value in any of its {len(label)} rows; give at least two.")
    if present[-1] >= len(classes):
        raise DataError(f"The target {name!r} has the class number {present[-1]}, but only {len(classes)} names.")
    if len(present) == 1:
        raise DataError(_constant(name, classes[present[0]]))
    return Target(torch.from_numpy(label), classes, "classification")


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
