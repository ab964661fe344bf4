"""Drawing exactly K rows with given chances, spread over neighbours."""

import torch
from torch import Tensor

_LEAF = 16


def pivotal(chances: Tensor, order: Tensor, generator: torch.Generator) -> Tensor:
    """Draw rows with given chances by pivotal sampling (Deville & Tillé 1998; Shimizu et al. 2024, algorithm 1).

    Neighbours in the order compete in pairs, as in a tournament: the chances of two become those of one, until a chance
    is 0 or 1. So neighbours are rarely drawn together, and each row is drawn with exactly its chance.

    Args:
        chances: float64 [N] in [0, 1], with a whole sum K.
        order: int64 [N], the rows in an order in which neighbours are alike.
        generator: decides between two.

    Returns:
        int64 [K], the drawn rows, ascending.
    """
    chance = chances.tolist()
    marks = torch.rand(max(len(chance), 1), generator=generator, dtype=torch.float64).tolist()
    rows = [row for row in order.tolist() if 0.0 < chance[row] < 1.0]
    while len(rows) > 1:
        left = [_compete(chance, one, other, marks.pop()) for one, other in zip(rows[::2], rows[1::2], strict=False)]
        rows = [row for row in left if row >= 0] + (rows[-1:] if len(rows) % 2 else [])
    # What is left over is 0 or 1 but for rounding.
    return torch.tensor([row for row, value in enumerate(chance) if value > 0.5], dtype=torch.int64)


def _compete(chance: list[float], one: int, other: int, mark: float) -> int:
    """Decide for one of two rows; the row that goes on, or -1 where both are decided."""
    total = chance[one] + chance[other]
    if total < 1.0:
        winner, loser = (one, other) if mark * total < chance[one] else (other, one)
        chance[winner], chance[loser] = total, 0.0
        return winner
    taken, left = (one, other) if mark * (2.0 - total) < 1.0 - chance[other] else (other, one)
    chance[taken], chance[left] = 1.0, total - 1.0
    return left if chance[left] > 0.0 else -1


def spread(x: Tensor) -> Tensor:
    """An order of rows in which neighbours are alike: halves along the column that varies most, again and again.

    Args:
        x: float [N, D].

    Returns:
        int64 [N], a permutation.
    """
    todo, found = [torch.arange(len(x))], list[Tensor]()
    while todo:
        rows = todo.pop()
        part = x[rows]
        rows = rows[part[:, int(part.var(0, correction=0).argmax())].argsort(stable=True)]
        if len(rows) <= _LEAF:
            found.append(rows)
        else:
            todo += [rows[len(rows) // 2 :], rows[: len(rows) // 2]]
    return torch.cat(found)


def level(weights: Tensor, count: int) -> Tensor:
    """Chances in proportion to weights, cut at 1: min(1, c w) with the sum K.

    Args:
        weights: float64 [N], more than `count` of them above 0 unless all of those are certain.
        count: the sum, K.

    Returns:
        float64 [N].
    """
    order = weights.argsort(descending=True)
    sorted_ = weights[order]
    rest = sorted_.flip(0).cumsum(0).flip(0)
    # The first n are certain: the smallest n with which no other needs more than 1.
    last = min(count, len(weights))
    fits = (count - torch.arange(last)) * sorted_[:last] <= rest[:last]
    certain = next((n for n, fit in enumerate(fits.tolist()) if fit), last)
    chances = torch.ones_like(weights)
    others = order[certain:]
    left = rest[certain] if certain < len(weights) else torch.ones(())
    chances[others] = (count - certain) * weights[others] / left.clamp(min=torch.finfo(weights.dtype).tiny)
    return chances
