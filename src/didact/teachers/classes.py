"""The alignment of a teacher's classes with those of the data."""

import re
from collections.abc import Iterable, Sequence
from decimal import Decimal

import numpy as np
import torch
from torch import Tensor

from didact.errors import MissingExtraError, TeacherError
from didact.types import is_labelled

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")


def align(own_classes: Iterable[object], data_classes: Iterable[object]) -> Tensor:
    """Find each of the data's classes among a teacher's own.

    Classes are compared by `str`; where that fails, by value: "1", 1 and 1.0 are the same class.

    Args:
        own_classes: the teacher's classes, in the order of its outputs.
        data_classes: the data's, in the order of the label numbers.

    Returns:
        int64 [C]: `order[i]` is the teacher's output for the data's class `i`, so that `scores[:, order]` are in the
        data's order.

    Raises:
        TeacherError: the two have different classes; the message gives both lists.
    """
    own_classes = list(own_classes)
    own, data = [str(c) for c in own_classes], [str(c) for c in data_classes]
    if sorted(own) != sorted(data):
        own_keys, data_keys = [canonical(c) for c in own], [canonical(c) for c in data]
        if len(set(own_keys)) < len(own) or set(own_keys) != set(data_keys):
            raise TeacherError(_difference(own, data))
        own, data = own_keys, data_keys
    if len(set(own)) < len(own):
        raise TeacherError(
            f"A class is named twice: {_listed([str(c) for c in own_classes])}. Give each class its own name."
        )
    position = {name: i for i, name in enumerate(own)}
    return torch.tensor([position[name] for name in data], dtype=torch.int64)


def pixel_rows(scores: np.ndarray) -> np.ndarray:
    """Scores of masks [B, C, H, W] as a row for each pixel [B * H * W, C], image by image; others are unchanged."""
    return np.moveaxis(scores, 1, -1).reshape(-1, scores.shape[1]) if scores.ndim == 4 else scores


def check_classes(own: Iterable[object], data: Iterable[object]) -> None:
    """Raise `TeacherError` unless a teacher and the data have the same classes, in any order."""
    align(own, data)


def check_count(count: int, classes: Sequence[object], kind: str) -> None:
    """Raise `TeacherError` unless a teacher has as many classes as the data.

    Args:
        count: the teacher's number of classes.
        classes: the data's.
        kind: the kind of teacher, for the message.
    """
    if count != len(classes):
        raise TeacherError(
            f"{kind[:1].upper()}{kind[1:]} predicts {count} classes, but the data have {len(classes)}: "
            f"{_listed([str(c) for c in classes])}. Give a teacher of these classes."
        )


def suspicious_order(probabilities: Tensor, labels: Tensor, classes: Sequence[str]) -> str | None:
    """Check whether a teacher's outputs would fit the data far better in another order of classes.

    The best assignment of outputs to classes is fitted on one half of the labelled examples and evaluated on the other,
    and vice versa, so that it does not overfit. It is reported if its accuracy is higher by at least 10 points and by
    more than four standard errors, and at least half way between that of the most frequent class and 1. A teacher with
    a low accuracy in any order, such as an untrained net, is therefore not reported.

    Args:
        probabilities: [N, C] float, or any scores whose largest is the prediction, in the present order.
        labels: int64 [N]; `IGNORE` is skipped.
        classes: the data's C classes.

    Returns:
        A sentence with both accuracies and the order of class names that fits the outputs; None if the present order is
        fine, or there are too few labels to tell.

    Raises:
        TeacherError: the probabilities have another number of classes.
    """
    check_count(probabilities.shape[-1], classes, "the teacher")
    known = is_labelled(labels).cpu()
    answers, truth = probabilities.argmax(-1).cpu()[known].numpy(), labels.cpu()[known].numpy()
    if len(truth) < 2:
        return None
    halves = np.arange(len(truth)) % 2
    right = np.empty(len(truth), dtype=bool)
    for half in (0, 1):
        found = _assignment(answers[halves != half], truth[halves != half], len(classes))
        right[halves == half] = found[answers[halves == half]] == truth[halves == half]
    as_given = answers == truth
    gain = right.astype(float) - as_given.astype(float)
    # Two pseudo-counts of variance, so that a few examples that all agree do not count as certain.
    error = ((gain.var() + 2 / len(gain)) / len(gain)) ** 0.5
    chance = np.bincount(truth, minlength=len(classes)).max() / len(truth)
    if gain.mean() < 0.1 or gain.mean() <= 4 * error or right.mean() < (1 + chance) / 2:
        return None
    names = [classes[int(i)] for i in _assignment(answers, truth, len(classes))]
    return (
        f"As its classes stand, the teacher is right on {as_given.mean():.1%} of {len(truth)} labelled examples, but "
        f"it would be right on {right.mean():.1%} if its outputs were, in order, {_listed(names)}; give its classes in "
        "that order."
    )


def _assignment(answers: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    """The assignment of classes to outputs, int [C], with the highest accuracy."""
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise MissingExtraError("scipy", "data", "Checking a teacher's class order") from error
    counts = np.zeros((classes, classes))
    np.add.at(counts, (answers, truth), 1.0)
    # An output that was never predicted keeps its class: less than one count decides nothing else.
    counts += np.eye(classes) / (2 * classes)
    return linear_sum_assignment(counts, maximize=True)[1]


def canonical(name: str) -> str:
    """One spelling of a class's name for equal numbers; other names unchanged."""
    name = name.strip()
    return str(Decimal(name).normalize() + 0) if _NUMBER.fullmatch(name) else name


def _listed(names: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(map(repr, names[:most]))
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more ({len(names)} in all)"


def _difference(own: list[str], data: list[str]) -> str:
    left, right = [c for c in own if c not in data], [c for c in data if c not in own]
    apart = [
        f"only the teacher has {_listed(left)}" if left else "",
        f"only the data have {_listed(right)}" if right else "",
    ]
    why = "; ".join(part for part in apart if part) or "a class is named twice"
    return (
        f"The teacher's classes are {_listed(own)}, the data's are {_listed(data)}: {why}. Give a teacher of the same "
        "classes, or rename them so that both agree."
    )
