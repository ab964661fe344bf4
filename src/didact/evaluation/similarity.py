"""Metrics of embeddings: whether a student's keep the neighbours and the similarities of its teacher's."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from didact.errors import ConfigError

SIMILARITIES = ("spearman", "recall_at_10", "mrr", "mean_cosine")
"""The metrics of `compare_embeddings`."""
NEIGHBOURS = 10
MOST = 2000
"""Examples that are compared with each other; of more, the first."""


def compare_embeddings(student: Tensor, teacher: Tensor) -> dict[str, float]:
    """Compare the embeddings of the same examples.

    Args:
        student: float [N, D], N at least 3.
        teacher: float [N, E].

    Returns:
        `spearman`, in [-1, 1]: the rank correlation of the cosine similarities of all pairs, as sentence-transformers'
        `EmbeddingSimilarityEvaluator` has it; `recall_at_10`, in [0, 1]: the mean share of the teacher's 10 nearest
        examples (or N - 1) that are among the student's; `mrr`, in (0, 1]: the mean of one over the rank that the
        student gives the teacher's nearest example; and `mean_cosine`, in [-1, 1], of both embeddings of an example,
        absent where D and E differ. All are by cosine similarity, among at most `MOST` examples.

    Raises:
        ConfigError: there are too few examples, or not as many of both.
    """
    if len(student) != len(teacher) or len(student) < 3:
        raise ConfigError(
            f"There are {len(student)} embeddings of the student and {len(teacher)} of the teacher; give both of 3 or "
            "more examples."
        )
    mine, theirs = (F.normalize(part[:MOST].double(), dim=1) for part in (student, teacher))
    near, wanted = mine @ mine.T, theirs @ theirs.T
    upper = torch.triu_indices(len(near), len(near), 1)
    found = {"spearman": spearman(near[*upper], wanted[*upper])}
    for similar in (near, wanted):
        similar.fill_diagonal_(-torch.inf)
    count = min(NEIGHBOURS, len(near) - 1)
    rows, best = wanted.topk(count).indices, near.topk(count).indices
    found["recall_at_10"] = float((rows[:, :, None] == best[:, None]).any(2).double().mean())
    nearest = near.gather(1, rows[:, :1])
    found["mrr"] = float((1 / ((near > nearest).sum(1) + 1).double()).mean())
    if mine.shape == theirs.shape:
        found["mean_cosine"] = float((mine * theirs).sum(1).mean())
    return found


def spearman(one: Tensor, other: Tensor) -> float:
    """The rank correlation of two float [M], where equal numbers share the mean of their ranks; 0 of a constant."""
    ranks = [torch.from_numpy(_ranks(part.numpy())) for part in (one, other)]
    apart = [part - part.mean() for part in ranks]
    size = float(apart[0].norm() * apart[1].norm())
    return float(apart[0] @ apart[1]) / size if size else 0.0


def _ranks(values: np.ndarray) -> np.ndarray:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[place]
