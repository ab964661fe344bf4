"""Student-teacher feature pyramid matching: the loss, and the anomaly map (Wang et al. 2021, STPM)."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from didact.errors import ConfigError
from didact.losses._weigh import weigh
from didact.types import Term


def map_discrepancy(student: Tensor, teacher: Tensor) -> Tensor:
    """Half the squared distance of two features at each position, each normalised over its channels to length 1.

    Args:
        student: float [B, C, H, W].
        teacher: the same shape; no gradient flows into it.

    Returns:
        float32 [B, H, W] in [0, 2]: one minus the cosine, where neither feature is zero.

    Raises:
        ConfigError: the shapes differ, or are not [B, C, H, W].
    """
    if student.ndim != 4 or student.shape != teacher.shape:
        raise ConfigError(
            f"The student's features are {list(student.shape)} and the teacher's {list(teacher.shape)}; they must be "
            "maps [B, C, H, W] of the same shape."
        )
    mine, theirs = F.normalize(student.float(), dim=1), F.normalize(teacher.detach().float(), dim=1)
    return 0.5 * (mine - theirs).square().sum(1)


def pyramid_matching(discrepancies: Sequence[Tensor], *, trust: Tensor | None = None) -> Term:
    """The discrepancies of several stages as a loss: the mean over a stage's positions, added up over the stages.

    Args:
        discrepancies: a float [B, H, W] for each stage, as `map_discrepancy` gives them; H and W may differ.
        trust: float [B] in [0, 1].

    Returns:
        The sum over examples, and their number.
    """
    return weigh(torch.stack([one.flatten(1).mean(1) for one in discrepancies]).sum(0), trust)


def anomaly_map(discrepancies: Sequence[Tensor], size: Sequence[int]) -> Tensor:
    """The anomaly map: the product of the discrepancies of all stages, each interpolated to the size of the image.

    Args:
        discrepancies: a float [B, H, W] for each stage, as `map_discrepancy` gives them; H and W may differ.
        size: height and width of the map, (H, W); smaller maps are interpolated bilinearly.

    Returns:
        float [B, 1, H, W], 0 or more; higher values are more anomalous.
    """
    scaled = [F.interpolate(one[:, None], list(size), mode="bilinear", align_corners=False) for one in discrepancies]
    return torch.stack(scaled).prod(0)
