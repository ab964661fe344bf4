"""Whether classes are so unbalanced that accuracy misleads."""

from torch import Tensor

from didact.types import is_labelled

LARGEST = 2 / 3
"""The share of the commonest class above which classes are unbalanced."""
RATIO = 1 / 5
"""The ratio of the rarest class to the commonest below which they are."""


def is_unbalanced(label: Tensor) -> bool:
    """Whether one class has more than two thirds of the labels, or another less than a fifth as many as the commonest.

    Then a constant answer has a high accuracy, and `balanced_accuracy` is the metric to look at.

    Args:
        label: int64 [N] with `IGNORE`; classes that do not occur do not count.
    """
    counts = label[is_labelled(label)].bincount()
    counts = counts[counts > 0].double()
    if len(counts) < 2:
        return False
    return bool(counts.max() > LARGEST * counts.sum()) or bool(counts.min() < RATIO * counts.max())
