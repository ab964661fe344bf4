"""Pairs of answers out of many answers that were rated.

Axis letters: Q questions, K answers to each.
"""

import torch
from torch import Tensor


def best_against_others(rating: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pair the best answer to each question with every other one, from the easiest pair to the hardest.

    A pair is the easier the further its ratings lie apart (Pattnaik et al. 2024, Curry-DPO).

    Args:
        rating: float [Q, K], higher is better; NaN where a question has fewer answers.

    Returns:
        Which answer is the best, int64 [Q] (the first of several); the others, int64 [Q, K - 1], by falling gap; and
        how much worse they are, as `rating` [Q, K - 1]. A gap of 0 is no pair.
    """
    best = rating.nan_to_num(nan=-torch.inf).argmax(1, keepdim=True)
    gap, other = (rating.gather(1, best) - rating).nan_to_num().sort(dim=1, descending=True, stable=True)
    return best[:, 0], other[:, :-1], gap[:, :-1]
