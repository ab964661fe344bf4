"""What a reader must know of the classes: too few rows, unbalanced ones, and those that are never predicted."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from didact import evaluation
from didact.evaluation import wording
from didact.experiment.checking import Check
from didact.sources import Splits
from didact.types import is_labelled

FEW = 5
"""A class with fewer test examples than this makes its figures a matter of luck."""
_NAMED = 8


def checks(splits: Splits) -> Iterator[Check]:
    """The doctor's checks of the classes."""
    counts = _counts(splits)
    rare = _names(splits, (counts[0] > 0) & (counts[2] > 0) & (counts[2] < FEW))
    found = [*_absent(splits, counts), *_unbalanced(splits)]
    if rare:
        found.append(f"Fewer than {FEW} test examples of: {rare}; their figures are a matter of luck.")
    yield from (Check("warn", "classes", words) for words in found)
    if not found:
        yield Check("pass", "classes", f"{int(counts[2].min())} to {int(counts[2].max())} test examples a class.")


def notes(splits: Splits, confusion: Sequence[Sequence[int]]) -> Iterator[str]:
    """Notes on classes for a reader of the figures.

    Args:
        splits: the examples.
        confusion: counts [C, C] by label and prediction on the test examples; may be empty.
    """
    yield from _absent(splits, _counts(splits))
    yield from _unbalanced(splits)
    if not confusion:
        return
    table = torch.tensor(confusion)
    silent = (table.sum(1) > 0) & (table.sum(0) == 0)
    if silent.any():
        yield (
            f"The student never predicts {_names(splits, silent)}, but {int(table.sum(1)[silent].sum())} test examples "
            "are; class_weights=balanced or sampler=balanced may help."
        )


def _counts(splits: Splits) -> Tensor:
    """The labels of each class in each split, int64 [3, C]."""
    labels = [part.tensors["label"] for _, part in splits]
    return torch.stack([label[is_labelled(label)].bincount(minlength=len(splits.train.classes)) for label in labels])


def _absent(splits: Splits, counts: Tensor) -> Iterator[str]:
    held_out = counts[1:].sum(0)
    if unseen := _names(splits, (counts[0] == 0) & (held_out > 0)):
        yield f"No training example is of: {unseen}; the student cannot learn to predict what it is tested on there."
    if untested := _names(splits, (counts[0] > 0) & (counts[2] == 0)):
        yield f"Too few examples for any in the test: {untested}; no figure says how well these are predicted."


def _unbalanced(splits: Splits) -> Iterator[str]:
    if evaluation.is_unbalanced(torch.cat([part.tensors["label"] for _, part in splits])):
        counts = _counts(splits).sum(0)
        ends = (
            f"{splits.train.classes[place]!r} has {wording.figure('accuracy', float(counts[place] / counts.sum()))}%"
            for place in (int(counts.argmax()), int(counts.masked_fill(counts == 0, counts.max()).argmin()))
        )
        yield (
            f"The classes are unbalanced: {' and '.join(ends)} of the labels. "
            "The metric is therefore balanced accuracy, the mean recall of the classes; a constant answer has "
            f"{wording.figure('accuracy', 1 / int((counts > 0).sum()))}%."
        )


def _names(splits: Splits, wanted: Tensor) -> str:
    """The names of classes, at most some of them; empty if there are none."""
    names = [splits.train.classes[i] for i in wanted.nonzero()[:, 0].tolist()]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(map(repr, names[:_NAMED])) + more
