"""Losses on logits themselves, which hold more information than their softmax."""

import math

from torch import Tensor
from torch.nn import functional as F

from didact.errors import ConfigError, check_range
from didact.losses._weigh import weigh
from didact.types import Term


def binary_kl(
    logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float = 2.0,
    normalised: bool = True,
    trust: Tensor | None = None,
) -> Term:
    """The divergence between a student's and a teacher's logits, with each class as a binary decision of its own.

    In the plain form (BinaryKL), temperature² times the sum over classes of KL(sigmoid(t / temperature) ||
    sigmoid(s / temperature)), between Bernoulli distributions. The normalised form (BinaryKL-Norm) first subtracts the
    teacher's logits from both: KL(1/2 || sigmoid((s - t) / temperature)), which is
    log cosh((s - t) / (2 temperature)), so that the gradient depends on the difference alone (Yang et al. 2024, DHKD).

    Args:
        logits: float [B, C], the student's.
        teacher_logits: float [B, C]; the loss is not invariant to adding a constant. No gradient flows into them.
        temperature: above 0.
        normalised: use the normalised form.
        trust: float [B] in [0, 1].

    Returns:
        The sum over examples and classes, in nats, 0 or more; and the number of examples.
    """
    check_range("temperature", temperature, above=0.0)
    student, teacher = logits.float() / temperature, teacher_logits.detach().float() / temperature
    if normalised:
        half = (student - teacher).abs() / 2.0
        # log cosh x = |x| + log(1 + exp(-2 |x|)) - log 2, which cannot overflow.
        divergence = half + F.softplus(-2.0 * half) - math.log(2.0)
    else:
        said = teacher.sigmoid()
        divergence = said * (F.logsigmoid(teacher) - F.logsigmoid(student))
        divergence = divergence + (1.0 - said) * (F.logsigmoid(-teacher) - F.logsigmoid(-student))
    return weigh(divergence.sum(-1) * temperature**2, trust)


def logit_l1(logits: Tensor, teacher_logits: Tensor, *, trust: Tensor | None = None) -> Term:
    """The mean absolute difference of logits (Fang et al. 2019, "Data-Free Adversarial Distillation").

    Unlike a divergence, it keeps its gradient where both are confident of the same class.

    Args:
        logits: the student's, float [B, C].
        teacher_logits: float [B, C]; the gradient flows into them where they carry one.
        trust: float [B] in [0, 1].

    Returns:
        The sum over examples of the mean over classes of |student - teacher|.

    Raises:
        ConfigError: the two have different shapes.
    """
    if logits.shape != teacher_logits.shape:
        raise ConfigError(
            f"The student's logits are {list(logits.shape)} and the teacher's {list(teacher_logits.shape)}; give a "
            "teacher of the same classes."
        )
    return weigh((logits.float() - teacher_logits.float()).abs().mean(-1), trust)
