"""Examples that are drawn with chances of their own: by the worst case of a wrong oracle, and by leverage."""

import torch
from torch import Tensor

from didact.curricula.acquisition.covering import Chosen, check_count
from didact.curricula.acquisition.rounding import level, pivotal, spread
from didact.curricula.acquisition.uncertainty import margin
from didact.errors import check_range

_HALVINGS = 80


def minimax(logits: Tensor, known: Tensor, count: int, generator: torch.Generator, *, wrong: float) -> Chosen:
    """Informative rows, as if the worst of the answers were wrong (robust active distillation; Baykal et al. 2023).

    A right answer gains one minus the student's margin, a wrong one nothing. The chances are those with the largest
    expected gain when an adversary picks which answers are wrong; see `minimax_chances`.

    Args:
        logits: float [N, C] of the student.
        known: bool [N], the rows that have a label.
        count: how many rows, K; at most as many as are not known.
        generator: draws the rows.
        wrong: the share of the oracle's answers that may be wrong, in [0, 1).

    Returns:
        The rows, those of the largest gain first; their scores are the gains.

    Raises:
        ConfigError: more rows than there are, or a share out of range.
    """
    check_count(known, count)
    check_range("wrong", wrong, at_least=0.0, below=1.0)
    free = (~known).nonzero()[:, 0]
    gains = margin(logits[free].double())
    chances = minimax_chances(gains, count, round(wrong * len(free)))
    drawn = pivotal(chances, gains.argsort(), generator)
    drawn = drawn[gains[drawn].argsort(descending=True, stable=True)]
    return Chosen(free[drawn], gains[drawn].float())


def minimax_chances(gains: Tensor, count: int, wrong: int) -> Tensor:
    """Chances p that maximise the sum of p_i g_i without its m largest parts, with p_i from 0 to 1 and the sum K.

    With c for the m-th largest part, no part is worth more than c: p_i = min(1, c / g_i) on the rows of the largest
    gains, as many as the sum allows. What that is worth is concave in c, whose best value is found by halving. Without
    a bound of 1 on chances, p_i is in proportion to 1 / g_i on the k largest gains, where (k - m) / sum 1 / g_i is
    largest.

    Args:
        gains: float64 [N], from 0 on.
        count: the sum, K, from 1 to N.
        wrong: how many answers may be wrong, m, from 0 on.

    Returns:
        float64 [N].
    """
    order = gains.argsort(descending=True, stable=True)
    sorted_ = gains[order].clamp(min=torch.finfo(gains.dtype).tiny)

    def filled(cap: float) -> Tensor:
        cost = (cap / sorted_).clamp(max=1.0)
        before = cost.cumsum(0) - cost
        return torch.minimum(cost, (count - before).clamp(min=0.0))

    def worth(cap: float) -> float:
        return float((filled(cap) * sorted_)[wrong:].sum())

    low, high = 0.0, float(sorted_[0])
    for _ in range(_HALVINGS):
        third = (high - low) / 3
        low, high = (low + third, high) if worth(low + third) < worth(high - third) else (low, high - third)
    chances = torch.empty_like(gains)
    chances[order] = filled((low + high) / 2)
    return _whole(chances, order, count)


def _whole(chances: Tensor, order: Tensor, count: int) -> Tensor:
    """The same chances with the sum K: what is missing goes to the largest gains that have room."""
    for row in order.tolist():
        missing = count - float(chances.sum())
        if missing <= 1e-9:
            break
        chances[row] += min(missing, 1.0 - float(chances[row]))
    return chances.clamp(0.0, 1.0)


def leverage_scores(x: Tensor) -> Tensor:
    """The leverage of each row: x_i (X'X)^+ x_i', float64 [N], from 0 to 1, with the rank of X as sum.

    Args:
        x: float [N, D]; its rank is that of float32.
    """
    left, values, _ = torch.linalg.svd(x.double(), full_matrices=False)
    kept = values > values.amax() * max(x.shape) * torch.finfo(torch.float32).eps
    return left[:, kept].square().sum(1)


def leverage(x: Tensor, known: Tensor, count: int, generator: torch.Generator) -> Chosen:
    """Rows by pivotal sampling with chances in proportion to their leverage (Shimizu, Cheng, Musco & Weare 2024).

    Departure: the order in which neighbours compete halves the rows along the column that varies most, where the
    authors take the first principal component.

    Args:
        x: float [N, D], what a linear model is given; a column of ones is added.
        known: bool [N], the rows that have a label.
        count: how many rows, K; at most as many as are not known.
        generator: draws the rows.

    Returns:
        The rows, with their leverages as scores, and as weights of a least-squares fit one over their chances.

    Raises:
        ConfigError: more rows than there are.
    """
    check_count(known, count)
    free = (~known).nonzero()[:, 0]
    scores = leverage_scores(torch.cat([x.float(), torch.ones(len(x), 1)], dim=1))[free]
    chances = level(scores, count)
    drawn = pivotal(chances, spread(x[free].float()), generator)
    return Chosen(free[drawn], scores[drawn].float(), (1.0 / chances[drawn]).float())
