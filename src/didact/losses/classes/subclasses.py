"""Distillation of subclasses within classes."""

import torch
from torch import Tensor
from torch.nn import functional as F

from didact.losses._weigh import weigh
from didact.types import Term


def subclass_kl(logits: Tensor, teacher_log_probs: Tensor, class_probs: Tensor, *, trust: Tensor | None = None) -> Term:
    """The part of the divergence over all subclasses that exceeds the divergence over classes.

    With P(c, s) = P(c) P(s | c), and likewise for the student's Q, KL(P || Q) is the divergence of the classes plus
    sum_c P(c) KL(P(s | c) || Q(s | c)). This is the second part.

    Args:
        logits: float [B, C, S], the student's for the subclasses within each class.
        teacher_log_probs: float [B, C, S], normalised within each class; no gradient flows into them.
        class_probs: float [B, C], the teacher's; no gradient flows into them.
        trust: float [B] in [0, 1].

    Returns:
        The sum over examples, in nats; 0 or more.
    """
    target = teacher_log_probs.detach().float()
    apart_BC = F.kl_div(F.log_softmax(logits.float(), -1), target, reduction="none", log_target=True).sum(-1)
    return weigh((class_probs.detach().to(apart_BC.dtype) * apart_BC).sum(-1), trust)


def subclass_log_probs(projections: Tensor, *, temperature: float) -> Tensor:
    """Log-probabilities of the subclasses within each class, from an example's projections onto their directions.

    Args:
        projections: float [B, C, S], standardised.
        temperature: above 0; the lower, the harder the split.

    Returns:
        float [B, C, S], normalised over the last axis.
    """
    return torch.log_softmax(projections.float() / temperature, -1)
