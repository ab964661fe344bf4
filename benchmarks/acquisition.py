"""Choosing 500 of 50,000 embeddings of 256 numbers: k-center, BADGE and typicality, next to what others have for them.

k-center is held against the loop that is usually written with scikit-learn's `pairwise_distances`, a column of
distances at a time; modAL has no k-center, and its ranked batches call the same function. The bound of BADGE is
k-means++ over gradients that are made whole, in torch, on a tenth of the rows. That of typicality is scikit-learn's
`MiniBatchKMeans` and `NearestNeighbors`, as in the authors' code but for their index on a GPU.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.cluster import MiniBatchKMeans
from sklearn.metrics import pairwise_distances
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

import harness
from didact.curricula.acquisition import badge, k_center, typicality

WIDTH, CLUSTERS, CLASSES, CHOSEN = 256, 200, 10, 500


@dataclass(frozen=True, slots=True)
class Given:
    """What both sides are given."""

    hidden: Tensor
    logits: Tensor
    known: Tensor


def given(rows: int, *, clustered: bool = True) -> Given:
    """Embeddings around some centres, or around none, of which ten have a label."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(rows, WIDTH, generator=generator)
    if clustered:
        centres = 2 * torch.randn(CLUSTERS, WIDTH, generator=generator)
        hidden += centres[torch.randint(CLUSTERS, (rows,), generator=generator)]
    known = torch.zeros(rows, dtype=torch.bool)
    known[:10] = True
    return Given(hidden, torch.randn(rows, CLASSES, generator=generator), known)


def farthest_first(work: Given) -> list[int]:
    """Greedy k-center with scikit-learn's distances to one row at a time."""
    x, found = work.hidden.numpy(), list[int]()
    nearest = pairwise_distances(x, x[:10]).min(1)
    for _ in range(CHOSEN):
        found.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, pairwise_distances(x, x[found[-1:]])[:, 0])
    return found


def whole_gradients(work: Given) -> list[int]:
    """k-means++ over gradients [N, C * D], made whole."""
    generator = torch.Generator().manual_seed(1)
    probs = work.logits.softmax(1)
    errors = probs.scatter_add(1, probs.argmax(1, keepdim=True), torch.full((len(probs), 1), -1.0))
    gradients = (errors.unsqueeze(2) * work.hidden.unsqueeze(1)).flatten(1)
    distance = gradients.square().sum(1).double().masked_fill(work.known, 0.0)
    found, taken = list[int](), work.known.clone()
    for number in range(CHOSEN):
        mark = torch.rand((), generator=generator, dtype=torch.float64) * distance.sum() if number else torch.zeros(())
        row = int(torch.searchsorted(distance.cumsum(0), mark, right=True)) if number else int(distance.argmax())
        found.append(row)
        taken[row] = True
        apart = (gradients - gradients[row]).square().sum(1).double()
        distance = (torch.minimum(distance, apart) if number else apart).masked_fill(taken, 0.0)
    return found


def clusters_first(work: Given) -> list[int]:
    """The most typical row of each cluster, by scikit-learn."""
    x = work.hidden.numpy()
    label = MiniBatchKMeans(CHOSEN, batch_size=5000, n_init="auto", random_state=0).fit_predict(x)
    label[work.known.numpy()] = -1
    found = []
    for cluster in range(CHOSEN):
        rows = np.flatnonzero(label == cluster)
        if len(rows) > 5:
            near = NearestNeighbors(n_neighbors=min(20, len(rows) // 2) + 1).fit(x[rows])
            found.append(int(rows[near.kneighbors(x[rows])[0][:, 1:].mean(1).argmin()]))
    return found


def ours_typical(work: Given) -> list[int]:
    """Typicality in didact."""
    return typicality(work.hidden, work.known, CHOSEN, torch.Generator().manual_seed(1)).rows.tolist()


def same_cover(results: Mapping[str, Any]) -> None:
    """The same rows, but for such as are equally far."""
    ours, theirs = results["didact"], results["scikit-learn"]
    assert len(set(ours) & set(theirs)) >= 0.98 * len(theirs)


def same_rows(results: Mapping[str, Any]) -> None:
    """The same draws give the same rows, but for rounding."""
    ours, theirs = results["didact"], results["whole gradients"]
    assert len(set(ours) & set(theirs)) >= 0.9 * len(theirs)


def all_different(results: Mapping[str, Any]) -> None:
    """As many rows as asked for, each once; k-means is not the same in both."""
    assert len(set(results["didact"])) == CHOSEN and len(set(results["scikit-learn"])) > 0.5 * CHOSEN


def cases(rows: int) -> list[harness.Case]:
    """The comparisons."""
    return [
        harness.Case(
            name=f"k-center, {CHOSEN} of {rows:,}{'' if clustered else ', without clusters'}",
            sides={
                "scikit-learn": harness.Side(run=farthest_first, prepare=lambda c=clustered: given(rows, clustered=c)),
                "didact": harness.Side(
                    run=lambda work: k_center(work.hidden, work.known, CHOSEN).rows.tolist(),
                    prepare=lambda c=clustered: given(rows, clustered=c),
                ),
            },
            bound="scikit-learn",
            check=same_cover,
            targets={"didact": 1 / 3},
        )
        for clustered in (True, False)
    ] + [
        harness.Case(
            name=f"BADGE, {CHOSEN} of {rows // 10:,}",
            sides={
                "whole gradients": harness.Side(run=whole_gradients, prepare=lambda: given(rows // 10)),
                "didact": harness.Side(
                    run=lambda work: badge(
                        work.logits, work.hidden, work.known, CHOSEN, torch.Generator().manual_seed(1)
                    ).rows.tolist(),
                    prepare=lambda: given(rows // 10),
                ),
            },
            bound="whole gradients",
            check=same_rows,
            targets={"didact": 1 / 3},
        ),
        harness.Case(
            name=f"typicality, {CHOSEN} of {rows:,}",
            sides={
                "scikit-learn": harness.Side(run=clusters_first, prepare=lambda: given(rows)),
                "didact": harness.Side(run=ours_typical, prepare=lambda: given(rows)),
            },
            bound="scikit-learn",
            check=all_different,
        ),
    ]


def main() -> int:
    """Run all of them."""
    parser = harness.arguments(__doc__ or "")
    parser.add_argument("--rows", type=int, default=50_000, help="rows of the pool (default: 50,000)")
    harness.PACKAGES = (*harness.PACKAGES, "scikit-learn")
    return harness.main("acquisition", parser, lambda options: cases(options.rows))


if __name__ == "__main__":
    sys.exit(main())
