"""Labels to look at again: which of them contradict predictions that were not learned from them.

Predictions must be out of sample, such as those of other folds, or from before the labels were memorised. Those of a
net that has learned its labels by heart agree with the wrong ones too.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from didact.errors import DataError

_SLACK = 1e-6
"""By how much a probability may be below its class's threshold, as in cleanlab."""


@dataclass(frozen=True, kw_only=True)
class Suspects:
    """What predictions say of N labels."""

    suggested: Tensor
    """int64 [N], the likeliest class; the label itself where nothing contradicts it."""
    self_confidence: Tensor
    """float32 [N] in [0, 1], the probability of the label."""
    margin: Tensor
    """float32 [N] in [0, 1], the normalised margin: half of one plus that probability minus the largest of another
    class. Below 1/2, another class is likelier."""
    suspect: Tensor
    """bool [N], whether another class is likelier, and likely enough for rows of that class; see `find_suspects`."""
    order: Tensor
    """int64 [N], the positions of the labels, the most doubtful first."""


def find_suspects(labels: Tensor, probs: Tensor) -> Suspects:
    """Rank labels by how doubtful they are, and mark the suspects by confident learning (Northcutt et al. 2021).

    The threshold of a class is the mean of its probability over the rows with that label. A row is counted in the
    class that reaches its threshold; where several do, in the likeliest class of all. It is a suspect if that class is
    not its label, and neither is the likeliest one. Marks and ranking are those of `find_label_issues` of cleanlab with
    `filter_by="confident_learning"` and `return_indices_ranked_by="self_confidence"`, except that all labels are
    ranked. The paper counts a row with several such classes in the likeliest of these.

    Args:
        labels: int64 [N] in 0 to C - 1.
        probs: float [N, C], of each class; rows add up to 1.

    Raises:
        DataError: there is no label, or fewer than two classes, or a label or a probability is none.
    """
    _check(labels, probs)
    probs = probs.float()
    given = probs.gather(1, labels[:, None])[:, 0]
    others = probs.scatter(1, labels[:, None], -1.0)
    rival, likeliest_other = others.max(1)
    suggested = torch.where(rival > given, likeliest_other, labels)
    suspect = _contradicted(labels, probs, given) & (rival > given)
    return Suspects(
        suggested=suggested,
        self_confidence=given,
        margin=(given - rival + 1.0) / 2.0,
        suspect=suspect,
        order=given.argsort(stable=True),
    )


def _contradicted(labels: Tensor, probs: Tensor, given: Tensor) -> Tensor:
    """Whether a label is not the class that its row is counted in; bool [N]."""
    classes = probs.shape[1]
    counts = labels.bincount(minlength=classes)
    sums = torch.zeros(classes, dtype=torch.float64).index_add_(0, labels, given.double())
    # A class without labels is reached by no row.
    threshold = torch.where(counts > 0, sums / counts.clamp(min=1), torch.inf).float() - _SLACK
    reached = probs >= threshold
    count = reached.sum(1)
    own = given >= threshold[labels]
    # Several classes: the likeliest one of all counts, which the caller compares with the label.
    return (count > 1) | ((count == 1) & ~own)


def _check(labels: Tensor, probs: Tensor) -> None:
    if probs.ndim != 2 or probs.shape[1] < 2 or len(probs) != len(labels) or not len(labels):
        raise DataError(
            f"There are {len(labels)} labels and probabilities of shape {list(probs.shape)}; give a label and the "
            "probabilities of two classes or more for each row."
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= probs.shape[1]:
        raise DataError(f"The labels go from {low} to {high}, but must lie in 0 to {probs.shape[1] - 1}.")
    if not bool(probs.isfinite().all()):
        raise DataError("The probabilities are not all finite; see what the model predicted.")
