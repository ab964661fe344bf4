"""How much repeated answers to the same example differ, and the halves that follow from it. Nothing has a gradient."""

import torch
from torch import Tensor


@torch.no_grad()
def score_variance(scores: Tensor) -> Tensor:
    """The mean squared distance of repeated scores from their mean, as TITAN has it (Ashraf & Bashir 2025).

    Args:
        scores: float [M, B, C], M answers to each example.

    Returns:
        float [B], 1/M times the sum over answers and classes.
    """
    return (scores - scores.mean(0)).square().sum(-1).mean(0)


@torch.no_grad()
def upper_part(values: Tensor, level: float) -> Tensor:
    """Which examples are in the upper part of a batch: those whose rank, of B, is at least a level.

    Args:
        values: float [B].
        level: in [0, 1]; 0.5 for the upper half.

    Returns:
        int64 [B], 1 in the upper part and 0 below.
    """
    ranks = values.argsort(stable=True).argsort() + 1
    return (ranks >= level * len(values)).long()
