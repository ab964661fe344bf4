"""Losses that pull a student's representation towards a teacher's."""

from torch import Tensor
from torch.nn import functional as F

from didact.errors import ConfigError
from didact.losses._weigh import weigh
from didact.types import Term


def feature_mse(student: Tensor, teacher: Tensor, *, trust: Tensor | None = None) -> Term:
    """The mean squared difference of two representations.

    Args:
        student: float [B, ...].
        teacher: the same shape; no gradient flows into it.
        trust: float [B] in [0, 1].

    Returns:
        The sum over examples of the mean over a representation's elements of the squared difference.
    """
    _check_shapes(student, teacher)
    mine, theirs = student.float(), teacher.detach().float()
    if trust is None:
        # One kernel forward and one backward, where the difference, its square and their gradients would be tensors.
        return Term(F.mse_loss(mine, theirs, reduction="sum") / mine.shape[1:].numel(), len(mine))
    return weigh((mine - theirs).flatten(1).square().mean(-1), trust)


def feature_cosine(student: Tensor, teacher: Tensor, *, trust: Tensor | None = None) -> Term:
    """One minus the cosine between two representations, flattened; in [0, 2] for each example.

    Arguments as for `feature_mse`.
    """
    _check_shapes(student, teacher)
    cosine = F.cosine_similarity(student.float().flatten(1), teacher.detach().float().flatten(1), dim=-1)
    return weigh(1.0 - cosine, trust)


def probability_mse(logits: Tensor, teacher_probs: Tensor, *, trust: Tensor | None = None) -> Term:
    """The mean over classes of the squared difference between probabilities (Tarvainen & Valpola 2017).

    Args:
        logits: the student's, float [B, C].
        teacher_probs: float [B, C]; no gradient flows into them.
        trust: float [B] in [0, 1].
    """
    return feature_mse(logits.float().softmax(-1), teacher_probs, trust=trust)


def _check_shapes(student: Tensor, teacher: Tensor) -> None:
    if student.shape != teacher.shape:
        raise ConfigError(
            f"The student's features are {list(student.shape)} and the teacher's {list(teacher.shape)}; "
            "a projector must bring them to the same shape."
        )
