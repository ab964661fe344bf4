"""The two parts of the KL divergence from a teacher: of the target class, and among all the others."""

import torch
from torch import Tensor
from torch.nn import functional as F

from didact.errors import ConfigError, check_range
from didact.types import Term

ABSENT = -1e4
"""The log-probability of a class that is left out: its exponential is 0, and it is finite."""


def decoupled_kd(
    logits: Tensor,
    teacher_log_probs: Tensor,
    target: Tensor,
    *,
    temperature: float = 1.0,
    trust: Tensor | None = None,
) -> tuple[Term, Term]:
    """TCKD and NCKD of decoupled knowledge distillation (Zhao et al. 2022, section 3.1).

    With p the teacher's probability of the target class, KL(P || Q) = TCKD + (1 - p) NCKD: the divergence between the
    binary distributions "target or not", and that between the distributions over the other classes, renormalised. Both
    are multiplied by the temperature squared.

    Args:
        logits: the student's, float [B, C], C at least 2.
        teacher_log_probs: float [B, C], at the same temperature; no gradient flows into them.
        target: int64 [B]; a negative number, as `IGNORE`, leaves the example out of both sums and counts.
        temperature: above 0; divides the student's logits.
        trust: float [B] in [0, 1].

    Returns:
        The term of the target class, and that of the others; both sums are 0 or more, in nats.

    Raises:
        ConfigError: fewer than two classes, or a temperature out of range.
    """
    check_range("temperature", temperature, above=0.0)
    if logits.shape[-1] < 2:
        raise ConfigError(f"The logits are {list(logits.shape)}, but decoupled distillation needs two classes or more.")
    known = target >= 0
    index = target.clamp(min=0).unsqueeze(1)
    with torch.no_grad():
        weight = known.float() if trust is None else known * trust.float()
        count, scaled = weight.sum(), weight * temperature**2
        odds, others = _split(teacher_log_probs.float(), index)
        share = odds.sigmoid()
        negative_entropy = share * odds - F.softplus(odds)
        probs = others.exp() * scaled.unsqueeze(1)
    student_odds, student_others = _split(logits.float() / temperature, index)
    # KL between two Bernoulli distributions: -H(p) - p log q - (1 - p) log(1 - q), with q the sigmoid of the odds.
    of_target = torch.addcmul(F.softplus(student_odds) + negative_entropy, share, student_odds, value=-1.0)
    of_others = torch.dot(probs.flatten(), (others - student_others).flatten())
    return (
        Term(torch.dot(of_target, scaled), count, rows=lambda: of_target * scaled / weight),
        Term(of_others, count, rows=lambda: (probs * (others - student_others)).sum(1) / weight),
    )


def _split(scores: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """The log-odds of the target against all others [B], and the log-probabilities among the others [B, C]."""
    others = scores.scatter(1, index, ABSENT).log_softmax(1)
    # Any other class gives the normaliser of all of them, without summing their exponentials again.
    beside = (index + 1).remainder(scores.shape[1])
    return (scores.gather(1, index) - scores.gather(1, beside) + others.gather(1, beside)).squeeze(1), others
