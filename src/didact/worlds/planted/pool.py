"""A pool of near-duplicates, of which it is known which labels are worth asking for."""

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from didact import hashing
from didact.preprocessing import plain_table
from didact.types import Examples
from didact.worlds._chance import normal, uniform

_SIZE, _CLUSTERS, _CLASSES, _COLUMNS = 1500, 50, 5, 16
_APART, _WITHIN = 3.0, 0.1


@functools.cache
def pool() -> Examples:
    """Classify a pool of near-duplicates, where a label tells about its whole cluster and nothing else.

    Real: nothing.

    Simulated: 1,500 examples of 50 clusters in 16 dimensions. Cluster r has a share proportional to 1/r, so that most
    examples repeat a few clusters; its examples lie about 0.4 from its centre, and the nearest other centre is
    more than 8 away. Cluster r has class r modulo 5.

    Known: everything. One label for each cluster and the nearest labelled example are right for all others; a cluster
    without a label is right by luck. `expected_clusters` gives the number of clusters among labels that were chosen at
    random: about 22 among 50 labels, where a choice by clusters has all 50.

    Returns:
        `x` float32 [1500, 16], `label` int64 [1500], `cluster` int64 [1500], `id` int64 [1500] from the contents.
    """
    numbers = torch.arange(_SIZE)
    shares = 1 / torch.arange(1, _CLUSTERS + 1, dtype=torch.float64)
    chance = uniform(numbers, 1, 0, "planted:pool: cluster")[:, 0]
    cluster = torch.searchsorted((shares / shares.sum()).cumsum(0), chance, right=True).clamp_(max=_CLUSTERS - 1)
    centres = _APART * normal(torch.arange(_CLUSTERS), _COLUMNS, 0, "planted:pool: centres")
    kinds = torch.arange(_CLUSTERS) % _CLASSES
    x = centres[cluster] + _WITHIN * normal(numbers, _COLUMNS, 0, "planted:pool: x")
    return Examples(
        tensors={"x": x, "label": kinds[cluster], "cluster": cluster, "id": hashing.of_rows(x)},
        task="classification",
        modality="table",
        classes=tuple(f"class {number}" for number in range(_CLASSES)),
        preprocessing=plain_table(f"x{number}" for number in range(_COLUMNS)),
        name="planted:pool",
    )


def expected_clusters(sizes: Tensor | Sequence[int], chosen: int) -> float:
    """The mean number of clusters among examples that are chosen at random without replacement.

    A cluster of n examples of N is missed with probability C(N - n, chosen) / C(N, chosen).

    Args:
        sizes: the number of examples of each cluster.
        chosen: the number of chosen examples, from 0 to N.
    """
    count = torch.as_tensor(sizes, dtype=torch.float64)
    others = count.sum() - count
    missed = _log_choose(others, chosen) - _log_choose(count.sum(), chosen)
    return float((1 - missed.exp().where(others >= chosen, torch.zeros(()).double())).sum())


def _log_choose(among: Tensor, chosen: int) -> Tensor:
    fewer = (among - chosen).clamp(min=0)
    return (among + 1).lgamma() - (fewer + 1).lgamma() - torch.tensor(chosen + 1.0).double().lgamma()
