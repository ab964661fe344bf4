"""The loss of an image generator in data-free distillation."""

from torch import Tensor

from didact.losses.classes.divergence import jensen_shannon
from didact.losses.classes.entropy import class_imbalance
from didact.losses.labels.supervised import cross_entropy
from didact.types import Terms


def generator_loss(
    logits: Tensor, teacher_logits: Tensor, *, disagreement: float, sureness: float, balance: float
) -> Tensor:
    """The loss of a generator of images: student and teacher disagree, the teacher is confident, classes are balanced.

    Adversarial distillation (Fang et al. 2019; Choi et al. 2020) with the terms of DAFL (Chen et al. 2019).

    Args:
        logits: the student's on generated images, float [B, C].
        teacher_logits: float [B, C]; the gradient flows into them too.
        disagreement: weight of minus the Jensen-Shannon divergence between the two.
        sureness: weight of the cross-entropy of the teacher's likeliest class.
        balance: weight of `class_imbalance`.

    Returns:
        Scalar: the weighted sum of the three means over examples.
    """
    return Terms(
        disagreement=jensen_shannon(logits, teacher_logits.log_softmax(-1), continuous=False).times(-disagreement),
        sureness=cross_entropy(teacher_logits, teacher_logits.argmax(-1)).times(sureness),
        balance=class_imbalance(teacher_logits).times(balance),
    ).total()
