"""Joint labels of class and rotation (Lee, Hwang and Shin 2020, "Self-supervised Label Augmentation").

With C classes and K rotations ("turns") of the inputs, the joint label of class c under turn k is c K + k. Every turn
is applied to the whole batch of B examples: row k B + b is example b under turn k.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from didact.types import IGNORE


def joint_labels(labels: Tensor, turns: int) -> Tensor:
    """The joint labels of a turned batch.

    Args:
        labels: int64 [B]; `IGNORE` stays.
        turns: K.

    Returns:
        int64 [K B].
    """
    turn_K1 = torch.arange(turns, device=labels.device)[:, None]
    return torch.where(labels >= 0, labels * turns + turn_K1, IGNORE).view(-1)


def joint_class_log_probs(logits: Tensor, turns: int, *, temperature: float = 1.0) -> Tensor:
    """Class log-probabilities from joint logits, aggregated over all turns of an example.

    The score of class c is the mean over the turns k of the logit of (c, k) for the example under turn k; the
    probabilities are their softmax (Lee et al., section 2.3, "aggregation").

    Args:
        logits: float [K B, C K].
        turns: K.
        temperature: above 0; divides the scores.

    Returns:
        float32 [B, C].
    """
    logits_KBCK = logits.float().view(turns, -1, logits.shape[-1] // turns, turns)
    scores_BC = torch.diagonal(logits_KBCK, dim1=0, dim2=3).mean(-1)
    return F.log_softmax(scores_BC / temperature, -1)


def pair_labels(weak: Tensor, said: Tensor, counts: Tensor, kept: int) -> Tensor:
    """The label of each pair of a weak label and an answer: its own if the pair is frequent, or that of the rest.

    Args:
        weak: int64 [B], in [0, W).
        said: int64 [B], in [0, C).
        counts: float [W, C], how often each pair occurs; some are above 0.
        kept: how many of the most frequent pairs have labels of their own, at least 1; more where counts are equal.

    Returns:
        int64 [B]: w C + c for a frequent pair, and W C + w for the others of the weak label w.
    """
    least = counts.flatten().topk(min(kept, counts.numel())).values[-1].clamp(min=1.0)
    return torch.where(counts[weak, said] >= least, weak * counts.shape[1] + said, counts.numel() + weak)
