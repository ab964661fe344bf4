"""The parts of normalised knowledge distillation and self-distillation (Yang et al. 2023).

The losses themselves are a weighted likelihood of the target (`weighted_nll`) and the divergence among the other
classes (the second term of `decoupled_kd`).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from didact.losses._weigh import weigh
from didact.types import Term


def weighted_nll(logits: Tensor, target: Tensor, weight: Tensor, *, trust: Tensor | None = None) -> Term:
    """Weighted negative log-likelihood, -w log p(target); the weight w is not part of the count.

    Args:
        logits: float [B, C].
        target: int64 [B]; a negative number, as `IGNORE`, leaves the example out of the sum and the count.
        weight: float [B], 0 or more: the factor w of each example; no gradient flows into it.
        trust: float [B] in [0, 1], a weight in the sum and in the count.

    Returns:
        The sum over examples, in nats, and their number.
    """
    known = target >= 0
    log_probs = F.log_softmax(logits.float(), -1).gather(1, target.clamp(min=0).unsqueeze(1)).squeeze(1)
    return weigh(-weight.detach() * log_probs, known.float() if trust is None else known * trust)


@torch.no_grad()
def smoothed_target(logits: Tensor, target: Tensor) -> Tensor:
    """A student's own soft label of the target: p² + 1 - the mean of p² over the batch (Yang et al. 2023, USKD).

    Args:
        logits: float [B, C].
        target: int64 [B]; negative numbers are left out of the mean.

    Returns:
        float32 [B], 0 or more; its mean over the examples with a target is 1.
    """
    known = target >= 0
    index = target.clamp(min=0).unsqueeze(1)
    squared = F.softmax(logits.float(), -1).gather(1, index).squeeze(1).square()
    return squared + 1.0 - (squared * known).sum() / known.sum().clamp(min=1)


@torch.no_grad()
def zipf_log_probs(scores: Tensor, target: Tensor) -> Tensor:
    """Log-probabilities of Zipf's law over the non-target classes, in the order of their scores.

    The non-target class with the highest score has rank 1, the last one C - 1; each has a probability
    proportional to 1 / rank (Yang et al. 2023, USKD).

    Args:
        scores: float [B, C].
        target: int64 [B]; a negative number is taken for 0.

    Returns:
        float32 [B, C], up to a constant per row; the entry of the target is meaningless.
    """
    others = scores.float().scatter(1, target.clamp(min=0).unsqueeze(1), -torch.inf)
    rank = others.argsort(dim=1, descending=True, stable=True).argsort(dim=1) + 1
    return -rank.float().log()


@torch.no_grad()
def non_target_probs(logits: Tensor, target: Tensor) -> Tensor:
    """The probabilities of the non-target classes, renormalised: float32 [B, C], 0 at the target.

    Args:
        logits: float [B, C].
        target: int64 [B]; a negative number is taken for 0.
    """
    return F.softmax(logits.float().scatter(1, target.clamp(min=0).unsqueeze(1), -torch.inf), -1)
