"""A distance of representations that large differences don't rule."""

from torch import Tensor
from torch.nn import functional as F

from didact.errors import ConfigError
from didact.losses._weigh import weigh
from didact.types import Term


def feature_smooth_l1(student: Tensor, teacher: Tensor, *, trust: Tensor | None = None) -> Term:
    """Half the squared difference of two representations up to a difference of 1, the difference less 1/2 beyond.

    Args:
        student: float [B, ...].
        teacher: the same shape; no gradient flows into it.
        trust: float [B] in [0, 1].

    Returns:
        The sum over examples of the mean over a representation's elements (Girshick 2015, equation 3).

    Raises:
        ConfigError: the shapes differ.
    """
    if student.shape != teacher.shape:
        raise ConfigError(
            f"The student's features are {list(student.shape)} and the teacher's {list(teacher.shape)}; "
            "a projector must bring them to the same shape."
        )
    apart = F.smooth_l1_loss(student.float(), teacher.detach().float(), reduction="none")
    return weigh(apart.flatten(1).mean(-1), trust)
