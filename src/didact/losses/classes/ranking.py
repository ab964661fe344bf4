"""Losses over rankings of the classes."""

import torch
from torch import Tensor
from torch.nn import functional as F

from didact.losses._weigh import weigh
from didact.types import Term


def plackett_luce(logits: Tensor, teacher_log_probs: Tensor, labels: Tensor, *, trust: Tensor | None = None) -> Term:
    """The weighted likelihood of a teacher's ranking of the classes (Bassam, Zhu & Bian 2025, PLD).

    The classes are ordered: the label first, then the others from the teacher's likeliest to its least likely. In the
    Plackett-Luce model they are drawn one after the other without replacement. The loss at place k is -log softmax of
    the student's score over the places k and after, weighted by the teacher's probability of the class at that place.
    The first place alone is the cross-entropy of the label times the teacher's probability of it.
    The loss is convex in the logits, and invariant to adding a constant to all of them.

    Args:
        logits: float [B, C], the student's.
        teacher_log_probs: float [B, C], finite; no gradient flows into them.
        labels: int64 [B]; with `IGNORE`, the teacher's likeliest class comes first.
        trust: float [B] in [0, 1].

    Returns:
        The sum over examples, in nats, 0 or more; and their number.
    """
    scores, weights = logits.float(), teacher_log_probs.detach().float()
    classes = torch.arange(scores.shape[-1], device=labels.device)
    first = labels.unsqueeze(-1) == classes  # False everywhere for `IGNORE`
    order = weights.masked_fill(first, torch.inf).argsort(dim=-1, descending=True, stable=True).flip(-1)
    ranked = scores.gather(-1, order)  # the last choice first, so that the sum over the remaining classes runs forwards
    others = ranked.logcumsumexp(-1)[..., :-1]
    # log(chosen + others) - log(chosen): softplus is accurate in relative terms where the choice is almost certain.
    costs = F.softplus(others - ranked[..., 1:])
    return weigh((weights.gather(-1, order[..., 1:]).exp() * costs).sum(-1), trust)
