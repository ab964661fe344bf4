"""Examples that cover a pool: k-center, and the most typical of each cluster. No distance matrix is ever held whole."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from didact.errors import check_range

ROUNDING = 1e-6
"""Squared distances below this share of the squared lengths are rounding, and count as zero."""
_CHUNK, _BLOCK = 4_096, 128
_FEW = 0.1
"""Below this share of the rows it is faster to gather them than to go over all."""


class Nearest:
    """The squared distance of each row of a table to the nearest of some centres, which are added one at a time.

    A row stays with its centre, and is not looked at, where the new centre is at least twice as far from that centre as
    the row is (Elkan 2003).

    Args:
        x: float [N, D].
    """

    def __init__(self, x: Tensor) -> None:
        # Distances are the same, but lose fewer digits.
        self.x = x.float() - x.float().mean(0)
        self.lengths = self.x.square().sum(1)
        self.distance = torch.full((len(x),), math.inf)
        """float [N]; inf before the first centre."""
        self.owner = torch.zeros(len(x), dtype=torch.int64)
        """int64 [N], the number of the nearest centre."""
        self.centres: list[int] = []

    def add(self, row: int) -> None:
        """Make a row a centre."""
        centre, number = self.x[row], len(self.centres)
        self.centres.append(row)
        rows = self._near(centre) if number else None
        if rows is None:
            both = self.lengths + self.lengths[row]
            found = both - 2.0 * (self.x @ centre)
            found = torch.where(found > ROUNDING * both, found, 0.0)
            closer = found < self.distance
            self.distance = torch.where(closer, found, self.distance)
            self.owner = self.owner.masked_fill(closer, number)
        else:
            apart = self.x[rows].sub_(centre)
            found = torch.linalg.vecdot(apart, apart)
            closer = found < self.distance[rows]
            self.distance[rows[closer]], self.owner[rows[closer]] = found[closer], number
        self.distance[row] = 0.0

    def _near(self, centre: Tensor) -> Tensor | None:
        """The rows that may be nearer to a new centre than to theirs; None where they are many."""
        reach = (self.x[self.centres[:-1]] - centre).square().sum(1)
        near = reach[self.owner] < 4.0 * self.distance
        return near.nonzero()[:, 0] if near.float().mean() < _FEW else None


@dataclass(frozen=True)
class Chosen:
    """Rows of a pool, in the order in which they are asked."""

    rows: Tensor
    """int64 [K], all different."""
    scores: Tensor
    """float [K]: what each was chosen for."""
    weights: Tensor | None = None
    """float [K]: what each weighs in a loss, where chances differed; None where all weigh the same."""


def k_center(x: Tensor, known: Tensor, count: int) -> Chosen:
    """The row farthest from all known ones, one after the other (Sener & Savarese 2018; Gonzalez 1985).

    The largest distance of any row to the nearest known one is at most twice that of the best choice. Where nothing is
    known, the first is the row farthest from the mean.

    Compared with query_strategies/core_set.py of JordanAsh/badge: the same rows. On predicted probabilities it is
    PCoreSet (Kang et al. 2025), compared with strategies.py of erjui/PCoreSet: the same rows.

    Args:
        x: float [N, D], such as embeddings.
        known: bool [N], the rows that have a label.
        count: how many rows, K; at most as many as are not known.

    Returns:
        The rows; their scores are the distances to the nearest known row at the time.

    Raises:
        ConfigError: more rows than there are.
    """
    check_count(known, count)
    rows, scores, farthest = list[int](), list[float](), _Farthest(x, known, count)
    for _ in range(count):
        row, squared = farthest.take()
        rows.append(row)
        scores.append(math.sqrt(squared))
    return Chosen(torch.tensor(rows, dtype=torch.int64), torch.tensor(scores))


class _Farthest:
    """The row farthest from all centres, again and again.

    A squared distance to the nearest centre can only fall, so that what it was before is a bound: only rows whose bound
    is the largest are compared with the centres that came since (Minoux 1978).
    """

    def __init__(self, x: Tensor, known: Tensor, count: int) -> None:
        # Distances are the same, but lose fewer digits.
        self.x = x.float() - x.float().mean(0)
        self.lengths = self.x.square().sum(1)
        first = known.nonzero()[:, 0]
        self.count = len(first)
        self.centres = torch.empty(self.count + count, x.shape[1])
        self.centres[: self.count] = self.x[first]
        self.seen = torch.zeros(len(x), dtype=torch.int64)
        """int64 [N], how many of the centres each row was compared with."""
        self.bound = self.lengths.clone()
        if self.count:
            self._compare_all()
            self.bound[first] = -1.0

    def take(self) -> tuple[int, float]:
        """Make the farthest row a centre; the row, and its squared distance from the others."""
        row = int(self.bound.argmax())
        while int(self.seen[row]) < self.count:
            # Of equal bounds, those of other rows may be chosen.
            others = self.bound.topk(min(_BLOCK, len(self.bound))).indices
            self._compare(torch.cat([torch.tensor([row]), others]))
            row = int(self.bound.argmax())
        squared = float(self.bound[row])
        self.centres[self.count] = self.x[row]
        self.count += 1
        if self.count == 1:
            self._compare_all()
        self.bound[row] = -1.0
        return row, squared

    def _compare_all(self) -> None:
        self.bound.fill_(math.inf)
        for rows in torch.arange(len(self.x)).split(_CHUNK):
            self._compare(rows)

    def _compare(self, rows: Tensor) -> None:
        """Compare rows with all centres that came since the first of them was."""
        centres = self.centres[int(self.seen[rows].min()) : self.count]
        both = self.lengths[rows].unsqueeze(1) + centres.square().sum(1)
        squared = torch.addmm(both, self.x[rows], centres.T, alpha=-2.0)
        squared = torch.where(squared > ROUNDING * both, squared, 0.0).amin(1)
        self.bound[rows] = torch.minimum(self.bound[rows], squared)
        self.seen[rows] = self.count


def check_count(known: Tensor, count: int) -> None:
    """Refuse to choose more rows than there are without a label.

    Args:
        known: bool [N].
        count: how many are wanted.

    Raises:
        ConfigError: fewer than 1, or too many.
    """
    check_range("The number of rows to ask for", count, at_least=1, at_most=int((~known).sum()))


def plus_plus(nearest: Nearest, count: int, generator: torch.Generator) -> list[int]:
    """Rows by k-means++: each with a chance in proportion to its squared distance (Arthur & Vassilvitskii 2007).

    Where no row has a distance, the others are drawn evenly.

    Args:
        nearest: has no centre, or those that are there already.
        count: how many rows.
        generator: draws them.
    """
    found = list[int]()
    for _ in range(count):
        weight = nearest.distance.double()
        if not nearest.centres or not bool((weight > 0).any()):
            weight = torch.ones_like(weight)
            weight[found] = 0.0
        found.append(draw(weight, generator))
        nearest.add(found[-1])
    return found


def draw(weight: Tensor, generator: torch.Generator) -> int:
    """One row with a chance in proportion to its weight, float64 [N]."""
    ends = weight.cumsum(0)
    mark = torch.rand((), generator=generator, dtype=torch.float64) * ends[-1]
    return int(torch.searchsorted(ends, mark, right=True).clamp(max=int(weight.nonzero()[-1])))


def k_means(x: Tensor, clusters: int, generator: torch.Generator, *, passes: int = 20) -> Tensor:
    """The cluster of each row by Lloyd's algorithm from k-means++.

    Args:
        x: float [N, D].
        clusters: how many, K; at most N.
        generator: draws the first centres.
        passes: over the rows, at most.

    Returns:
        int64 [N], from 0 to K - 1; a cluster may be empty.
    """
    nearest = Nearest(x)
    centres = nearest.x[plus_plus(nearest, clusters, generator)]
    owner = nearest.owner
    for _ in range(passes):
        sizes = owner.bincount(minlength=clusters).clamp(min=1).unsqueeze(1)
        moved = torch.zeros_like(centres).index_add_(0, owner, nearest.x) / sizes
        centres = torch.where((owner.bincount(minlength=clusters) > 0).unsqueeze(1), moved, centres)
        half = centres.square().sum(1) / 2
        found = torch.cat([(half - part @ centres.T).argmin(1) for part in nearest.x.split(_CHUNK)])
        if bool((found == owner).all()):
            break
        owner = found
    return owner


NEIGHBOURS, MOST_CLUSTERS, LEAST_SIZE = 20, 500, 5
"""Of `typicality`: the neighbours that a density is taken over, the most clusters, and clusters that are too small."""


def typicality(x: Tensor, known: Tensor, count: int, generator: torch.Generator) -> Chosen:
    """The most typical row of each cluster that has no label yet (TypiClust; Hacohen, Dekel & Weinshall 2022).

    There are as many clusters as labels there will be, at most 500. Those with the fewest labels come first, of these
    the largest. A row's typicality is one over its mean squared distance to its 20 nearest neighbours in the cluster,
    or to half of a smaller one. Clusters of 5 rows or fewer come last.

    Compared with deep-al/pycls/al/typiclust.py of avihu111/TypiClust, given the same clusters: the same rows. There,
    small clusters are left out.

    Args:
        x: float [N, D], such as embeddings.
        known: bool [N], the rows that have a label.
        count: how many rows, K; at most as many as are not known.
        generator: draws the first centres of the clusters.

    Returns:
        The rows; their scores are the typicalities.

    Raises:
        ConfigError: more rows than there are.
    """
    check_count(known, count)
    clusters = min(int(known.sum()) + count, MOST_CLUSTERS, len(x))
    label = k_means(x, clusters, generator)
    sizes = label.bincount(minlength=clusters)
    labels = label[known].bincount(minlength=clusters)
    small = (sizes <= LEAST_SIZE).tolist()
    order = sorted(range(clusters), key=lambda one: (small[one], int(labels[one]), -int(sizes[one])))
    free = [(~known & (label == one)).nonzero()[:, 0] for one in order]
    rows, scores = list[int](), list[float]()
    for reserve in (False, True):
        left = [part for one, part in zip(order, free, strict=True) if small[one] == reserve and len(part)]
        while left and len(rows) < count:
            for place, part in enumerate(left[: count - len(rows)]):
                found = _typicality(x[part].float())
                best = int(found.argmax())
                rows.append(int(part[best]))
                scores.append(float(found[best]))
                left[place] = torch.cat([part[:best], part[best + 1 :]])
            left = [part for part in left if len(part)]
    return Chosen(torch.tensor(rows, dtype=torch.int64), torch.tensor(scores))


def _typicality(x: Tensor) -> Tensor:
    """One over the mean squared distance of each row [n, D] to its nearest ones, as the authors' code has it; [n]."""
    count = min(NEIGHBOURS, len(x) // 2)
    if not count:
        return torch.ones(len(x))
    x = x - x.mean(0)
    lengths, found = x.square().sum(1), list[Tensor]()
    for part in torch.arange(len(x)).split(_CHUNK):
        both = lengths[part].unsqueeze(1) + lengths
        squared = both - 2.0 * x[part] @ x.T
        squared = torch.where(squared > ROUNDING * both, squared, 0.0)
        squared[torch.arange(len(part)), part] = math.inf
        found.append(squared.topk(count, dim=1, largest=False).values.mean(1))
    return 1.0 / (torch.cat(found) + 1e-5)
