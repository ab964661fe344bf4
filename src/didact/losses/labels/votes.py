"""Pseudo-labels by majority vote, in place of reference answers.

Axis letters: B completions.
"""

import torch
from torch import Tensor


def majority_vote(answer: Tensor, group: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mark the completions that give the majority answer of their group.

    Args:
        answer: int64 [B], the same number for equal answers.
        group: int64 [B], the same for completions that vote together.
        valid: bool [B], False for completions without an answer, which neither vote nor are marked; all by default.

    Returns:
        bool [B]. Of answers that are given equally often, the one that comes first wins.
    """
    valid = torch.ones_like(answer, dtype=torch.bool) if valid is None else valid
    return (answer == _elected(answer, group, valid)[0]) & valid


def cross_view_vote(answer: Tensor, group: Tensor, view: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mark the completions of one wording of a prompt that give the majority answer of the other (Co-Reward).

    Args:
        answer: int64 [B], the same number for equal answers.
        group: int64 [B], the same for completions of one prompt, each of which has completions of both views.
        view: int64 [B], 0 or 1: which wording a completion answers.
        valid: see `majority_vote`; where no completion of a wording has an answer, none of the other is marked.

    Returns:
        bool [B]. Of answers that are given equally often, the one that comes first wins.
    """
    valid = torch.ones_like(answer, dtype=torch.bool) if valid is None else valid
    _, place = group.unique(return_inverse=True)
    electorate = 2 * place + view
    winner, decided = _elected(answer, electorate, valid)
    elected = answer.new_zeros(2 * len(place)).scatter(0, electorate, winner)
    voted = valid.new_zeros(2 * len(place)).scatter(0, electorate, decided)
    return (answer == elected[electorate ^ 1]) & voted[electorate ^ 1] & valid


def _elected(answer: Tensor, group: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """For each completion, the majority answer of its group, int64 [B], and whether anyone voted, bool [B]."""
    _, place = group.unique(return_inverse=True)
    _, kind = answer.unique(return_inverse=True)
    size, order = len(answer), torch.arange(len(answer), device=answer.device)
    ballots, number = (place * size + kind).unique(return_inverse=True)
    votes = torch.zeros_like(ballots).index_add(0, number, valid.to(number.dtype))
    # The number of votes decides, then the order; the winner's position is the remainder of the key.
    first = torch.full_like(ballots, size).scatter_reduce(0, number, order, "amin")
    key = votes[number] * size + (size - 1 - first[number])
    best = torch.zeros_like(key).scatter_reduce(0, place, key, "amax")
    return answer[size - 1 - best[place] % size], best[place] >= size
