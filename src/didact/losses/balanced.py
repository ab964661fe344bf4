"""A divergence whose two directions are balanced example by example."""

import torch
from torch import Tensor
from torch.nn import functional as F

from didact.errors import check_range
from didact.losses.divergence import forward_kl, reverse_kl
from didact.types import Term


def entropy_balanced_kl(
    logits: Tensor,
    teacher_log_probs: Tensor,
    *,
    emphasis: float = 0.75,
    temperature: float = 1.0,
    trust: Tensor | None = None,
) -> Term:
    """Forward and reverse KL, of which the one that mends the student's confidence weighs more (Amara et al. 2022).

    For each example b, w_b KL(P || Q) + (1 - w_b) KL(Q || P), with the teacher P and the student Q. Where the student
    is surer of itself than the teacher, H(Q) < H(P), w_b is `emphasis`: the forward direction makes it cover what the
    teacher finds likely. Elsewhere w_b is 1 - `emphasis`: the reverse direction draws it together.

    Args:
        logits: float [B, C], the student's.
        teacher_log_probs: float [B, C], finite, at the same temperature; no gradient flows into them.
        emphasis: in [0, 1]; 0.5 weighs both alike everywhere.
        temperature: above 0; divides the student's logits. Entropies are compared at this temperature.
        trust: float [B] in [0, 1].

    Returns:
        The sum over examples of temperature² times the weighted divergence in nats; the count is the trust there was.
    """
    check_range("emphasis", emphasis, at_least=0.0, at_most=1.0)
    target = teacher_log_probs.detach()
    with torch.no_grad():
        own = F.log_softmax(logits.float() / temperature, -1)
        forward_B = torch.where(_entropy(own) < _entropy(target), emphasis, 1.0 - emphasis)
        given_B = torch.ones_like(forward_B) if trust is None else trust.to(forward_B.dtype)
    forward = forward_kl(logits, target, temperature=temperature, trust=given_B * forward_B)
    reverse = reverse_kl(logits, target, temperature=temperature, trust=given_B * (1.0 - forward_B))
    return Term(forward.sum + reverse.sum, len(logits) if trust is None else given_B.sum())


def _entropy(log_probs: Tensor) -> Tensor:
    return -(log_probs.exp() * log_probs).sum(-1)
