"""Worked answers of others, of which a policy is to learn those that it can follow.

Axis letters: B worked answers, N tokens of them, G questions.
"""

import math

import torch
from torch import Tensor

from didact.errors import check_range
from didact.losses.rows import select
from didact.losses.vocabulary import token_log_probs
from didact.types import Batch, TokenOutput


def imitated(log_probs: Tensor, advantage: Tensor, shape: float = 0.1) -> Tensor:
    """The policy loss of tokens that another model chose (Yan et al. 2025, LUFFY; Yuan et al. 2025, AMPO).

    With p the probability that the policy gives a token now, -p / (p + shape) A. In the place of the ratio to the
    other model's probability, which is not asked for, stands p itself, bent upwards, so that tokens that the policy
    hardly expects are not forgotten: the gradient of log p is weighed by shape p / (p + shape)^2, which is largest at
    p = shape, where p alone would weigh by p.

    Args:
        log_probs: float [N], differentiable.
        advantage: float [N].
        shape: above 0.

    Returns:
        float [N].

    Raises:
        ConfigError: a shape out of its range.
    """
    check_range("shape", shape, above=0.0)
    return -torch.sigmoid(log_probs - math.log(shape)) * advantage


def best_of_groups(score: Tensor, group: Tensor, count: int) -> Tensor:
    """Which worked answers are the best of those to their question.

    Args:
        score: float [B].
        group: int64 [B], the same for answers to one question.
        count: how many are chosen of each question, at least 1; all where there are fewer. Of equals, the first.

    Returns:
        bool [B].

    Raises:
        ConfigError: a count out of its range.
    """
    check_range("count", count, at_least=1)
    order = score.argsort(descending=True, stable=True)
    order = order[group[order].argsort(stable=True)]
    ordered = group[order]
    start = torch.searchsorted(ordered, ordered)
    chosen = torch.arange(len(score), device=score.device) - start < count
    return torch.zeros_like(chosen).index_copy(0, order, chosen)


def comprehension(output: TokenOutput, batch: Batch) -> Tensor:
    """How well a policy knows what is to come: the mean probability that it gives the tokens of each row.

    Args:
        output: the policy's.
        batch: with `completion_mask`, the tokens that are looked at, such as those of the right answer behind a worked
            one.

    Returns:
        float [B] in [0, 1]; 0 for a row without such tokens.
    """
    rows = select(output, batch)
    found = token_log_probs(rows.hidden, rows.head, rows.targets)[0].exp()
    return rows.sums(found) / rows.lengths().clamp(min=1.0)
