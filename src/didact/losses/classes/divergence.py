"""Divergences between a student's and a teacher's distributions over classes.

All of them take the student's logits and the teacher's log-probabilities, already at the temperature given
(`target_log_probs` makes them from any signal), and multiply by the temperature squared, so that gradients keep their
size when it changes (Hinton et al. 2015, section 2). P is the teacher, Q the student.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from didact.errors import ConfigError, check_range
from didact.losses._weigh import blend_rows, weigh
from didact.types import Term


def forward_kl(
    logits: Tensor, teacher_log_probs: Tensor, *, temperature: float = 1.0, trust: Tensor | None = None
) -> Term:
    """KL(P || Q), which is mode-covering: the student must cover whatever is likely under the teacher.

    Args:
        logits: float [B, C], the student's.
        teacher_log_probs: float [B, C], finite, at the same temperature.
        temperature: above 0; divides the student's logits.
        trust: float [B] in [0, 1].

    Returns:
        The sum over examples of temperature² · KL in nats; 0 or more.
    """
    log_probs = _student_log_probs(logits, temperature)
    if trust is None:
        target = teacher_log_probs.float()
        # A dot product stores no elementwise product, and its gradient for the student is the probabilities themselves.
        shortfall = torch.dot(target.exp().flatten(), (log_probs - target).flatten())
        return Term(
            shortfall * -(temperature**2),
            len(target),
            rows=lambda: (target.exp() * (target - log_probs)).sum(-1) * temperature**2,
        )
    divergence = F.kl_div(log_probs, teacher_log_probs, reduction="none", log_target=True).sum(-1)
    return weigh(divergence * temperature**2, trust)


def reverse_kl(
    logits: Tensor, teacher_log_probs: Tensor, *, temperature: float = 1.0, trust: Tensor | None = None
) -> Term:
    """KL(Q || P), which is mode-seeking: the student must stay where the teacher's probability is high.

    Arguments and result as for `forward_kl`.
    """
    log_probs = _student_log_probs(logits, temperature)
    divergence = F.kl_div(teacher_log_probs, log_probs, reduction="none", log_target=True).sum(-1)
    return weigh(divergence * temperature**2, trust)


def jensen_shannon(
    logits: Tensor,
    teacher_log_probs: Tensor,
    *,
    beta: float = 0.5,
    continuous: bool = True,
    temperature: float = 1.0,
    trust: Tensor | None = None,
) -> Term:
    """The generalised Jensen-Shannon divergence between the forward (beta 0) and the reverse (beta 1) KL.

    As in Agarwal et al. (2024, GKD): JSD_b = b KL(P || M) + (1 - b) KL(Q || M), with M = b P + (1 - b) Q. It goes to 0
    as b goes to either end, although the ends are meant to be the two KLs. The continuous form divides it by b (1 - b),
    tends to KL(P || Q) at 0 and to KL(Q || P) at 1, and is defined there.

    Args:
        logits: float [B, C], the student's.
        teacher_log_probs: float [B, C], finite, at the same temperature.
        beta: in [0, 1]; strictly between for the form of the paper.
        continuous: divide by beta (1 - beta). In float32 the quotient loses digits below about 1e-3 from an end.
        temperature: above 0.
        trust: float [B] in [0, 1].

    Raises:
        ConfigError: beta out of range.
    """
    check_range("beta", beta, at_least=0.0, at_most=1.0)
    if beta in (0.0, 1.0):
        if not continuous:
            raise ConfigError(
                f"beta is {beta:g}, where the divergence as written is 0 for all distributions; "
                "choose beta strictly between 0 and 1, or the continuous form."
            )
        divergence = reverse_kl if beta else forward_kl
        return divergence(logits, teacher_log_probs, temperature=temperature, trust=trust)
    log_probs = _student_log_probs(logits, temperature)
    mixture = torch.logaddexp(teacher_log_probs + math.log(beta), log_probs + math.log1p(-beta))
    of_teacher = F.kl_div(mixture, teacher_log_probs, reduction="none", log_target=True).sum(-1)
    of_student = F.kl_div(mixture, log_probs, reduction="none", log_target=True).sum(-1)
    divergence = beta * of_teacher + (1.0 - beta) * of_student
    scale = temperature**2 / (beta * (1.0 - beta) if continuous else 1.0)
    return weigh(divergence * scale, trust)


def _student_log_probs(logits: Tensor, temperature: float) -> Tensor:
    check_range("temperature", temperature, above=0.0)
    return F.log_softmax(logits.float() / temperature, -1)


def symmetric_cross_entropy(logits: Tensor, target: Tensor, *, trust: Tensor | None = None) -> Term:
    """The mean of both cross-entropies of two predictions (Döbler, Marsden and Yang 2023, equation 4, halved).

    For a target that is certain, the reverse one keeps the gradient from vanishing where the student is wrong.

    Args:
        logits: float [B, C], the student's.
        target: float [B, C], logits of the other prediction.
        trust: float [B] in [0, 1].

    Returns:
        The sum of -(sum_c q_c log p_c + sum_c p_c log q_c) / 2 over examples, in nats, and their number.
    """
    own, other = logits.float().log_softmax(-1), target.float().log_softmax(-1)
    return weigh(-0.5 * (other.exp() * own + own.exp() * other).sum(-1), trust)


def entropy_balanced_kl(
    logits: Tensor,
    teacher_log_probs: Tensor,
    *,
    emphasis: float = 0.75,
    temperature: float = 1.0,
    trust: Tensor | None = None,
) -> Term:
    """Forward and reverse KL, weighted by whether the student is over- or underconfident (Amara et al. 2022).

    For each example b, w_b KL(P || Q) + (1 - w_b) KL(Q || P), with the teacher P and the student Q. Where the student
    is more confident than the teacher, H(Q) < H(P), w_b is `emphasis`: the forward direction spreads its probability.
    Elsewhere w_b is 1 - `emphasis`: the reverse direction concentrates it.

    Args:
        logits: float [B, C], the student's.
        teacher_log_probs: float [B, C], finite, at the same temperature; no gradient flows into them.
        emphasis: in [0, 1]; 0.5 weights both equally everywhere.
        temperature: above 0; divides the student's logits. Entropies are compared at this temperature.
        trust: float [B] in [0, 1].

    Returns:
        The sum over examples of temperature² times the weighted divergence in nats; the count is the total trust.
    """
    check_range("emphasis", emphasis, at_least=0.0, at_most=1.0)
    target = teacher_log_probs.detach()
    with torch.no_grad():
        own = F.log_softmax(logits.float() / temperature, -1)
        forward_B = torch.where(_entropy(own) < _entropy(target), emphasis, 1.0 - emphasis)
        given_B = torch.ones_like(forward_B) if trust is None else trust.to(forward_B.dtype)
    forward = forward_kl(logits, target, temperature=temperature, trust=given_B * forward_B)
    reverse = reverse_kl(logits, target, temperature=temperature, trust=given_B * (1.0 - forward_B))
    count = len(logits) if trust is None else given_B.sum()
    return Term(
        forward.sum + reverse.sum,
        count,
        rows=lambda: blend_rows((given_B * forward_B, forward), (given_B * (1.0 - forward_B), reverse)),
    )


def _entropy(log_probs: Tensor) -> Tensor:
    return -(log_probs.exp() * log_probs).sum(-1)
