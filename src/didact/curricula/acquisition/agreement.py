"""Examples whose neighbours are predicted alike."""

import torch
from torch import Tensor
from torch.nn import functional as F

from didact.types import IGNORE

_CHUNK = 2_048


def neighbour_agreement(hidden: Tensor, predicted: Tensor, *, neighbours: int = 14) -> tuple[Tensor, Tensor]:
    """The commonest prediction among the nearest neighbours of each row, and its share of them.

    Args:
        hidden: float [N, D], compared by their cosine.
        predicted: int64 [N], classes.
        neighbours: how many, without the row itself; all others where there are fewer.

    Returns:
        int64 [N], the smallest of equally common classes; and float [N] in (0, 1]. Rows without neighbours have their
        own prediction and 0.
    """
    count = min(neighbours, len(hidden) - 1)
    if count < 1:
        return predicted, torch.zeros(len(predicted))
    x, classes = F.normalize(hidden.float(), dim=1), int(predicted.max()) + 1
    found = list[Tensor]()
    for rows in torch.arange(len(x)).split(_CHUNK):
        cosines = x[rows] @ x.T
        cosines[torch.arange(len(rows)), rows] = -torch.inf
        votes = F.one_hot(predicted[cosines.topk(count, dim=1).indices], classes)
        found.append(votes.sum(1))
    most = torch.cat(found).max(1)
    return most.indices, most.values / count


def agreed_labels(logits: Tensor, hidden: Tensor, known: Tensor, *, bound: float = 0.5) -> Tensor:
    """Predictions that are sure and that neighbours share, as labels (HAST; Schröder & Heyer 2024).

    Args:
        logits: float [N, C].
        hidden: float [N, D].
        known: bool [N], the rows that have a label.
        bound: in [0, 1), what the probability and the share of neighbours must exceed.

    Returns:
        int64 [N], with `IGNORE` where there is none.
    """
    sure, predicted = logits.softmax(1).max(1)
    common, share = neighbour_agreement(hidden, predicted)
    kept = (common == predicted) & (share > bound) & (sure > bound) & ~known
    return torch.where(kept, predicted, IGNORE)
