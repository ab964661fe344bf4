"""Distances between a student's representation and a teacher's, or another target."""

import torch
from torch import Tensor
from torch.nn import functional as F

from didact.errors import ConfigError
from didact.losses._weigh import weigh
from didact.types import Term

_LEAST_SQUARE = 1e-6
_LEAST_NORM = 1e-12


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
        # One kernel forward and one backward, instead of tensors for the difference, its square and their gradients.
        total = F.mse_loss(mine, theirs, reduction="sum") / mine.shape[1:].numel()
        return Term(total, len(mine), rows=lambda: (mine - theirs).flatten(1).square().mean(-1))
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


def feature_smooth_l1(student: Tensor, teacher: Tensor, *, trust: Tensor | None = None) -> Term:
    """The smooth L1 distance: half the squared difference up to 1, the absolute difference minus 1/2 beyond.

    Args:
        student: float [B, ...].
        teacher: the same shape; no gradient flows into it.
        trust: float [B] in [0, 1].

    Returns:
        The sum over examples of the mean over a representation's elements (Girshick 2015, equation 3).

    Raises:
        ConfigError: the shapes differ.
    """
    _check_shapes(student, teacher)
    apart = F.smooth_l1_loss(student.float(), teacher.detach().float(), reduction="none")
    return weigh(apart.flatten(1).mean(-1), trust)


def relative_mse(student: Tensor, teacher: Tensor, *, trust: Tensor | None = None) -> Term:
    """The squared distance of two representations, divided by the squared norm of the second.

    It is scale-free, so that features of very different magnitude can be compared in one loss.

    Args:
        student: float [B, ...].
        teacher: float, with as many elements per example; no gradient flows into it.
        trust: float [B] in [0, 1].

    Returns:
        The sum over examples, 0 or more each, where a prediction of zeros has the loss 1; and their number.
    """
    mine, theirs = student.float().flatten(1), teacher.detach().float().flatten(1)
    return weigh((mine - theirs).square().sum(1) / (theirs.square().sum(1) + _LEAST_SQUARE), trust)


def masked_mse(predicted: Tensor, target: Tensor, hidden: Tensor, *, trust: Tensor | None = None) -> Term:
    """The squared error over the hidden elements alone (He et al. 2022, section 3).

    Args:
        predicted: float [B, ...].
        target: float, the same shape; no gradient flows into it.
        hidden: bool, the same shape; the elements that were hidden from the net.
        trust: float [B] in [0, 1].

    Returns:
        The sum over examples of the mean squared difference over an example's hidden elements; 0 for an example without
        hidden elements.

    Raises:
        ConfigError: the shapes differ.
    """
    if not predicted.shape == target.shape == hidden.shape:
        raise ConfigError(
            f"The prediction is {list(predicted.shape)}, its target {list(target.shape)} and the hidden mask "
            f"{list(hidden.shape)}; all three must have the same shape."
        )
    weight = hidden.flatten(1).float()
    squares = (predicted.float() - target.detach().float()).flatten(1).square()
    return weigh((squares * weight).sum(1) / weight.sum(1).clamp(min=1.0), trust)


def norm_direction(student: Tensor, teacher: Tensor, means: Tensor, *, trust: Tensor | None = None) -> Term:
    """The shortfall of a student's representation against the teacher's norm, in the direction of its class.

    1 - s · e / max(|s|, |t|), where e is the direction of the class's mean in the teacher. While the student's vector s
    is shorter than the teacher's t, it is lengthened along e; beyond, only its cosine with e counts (Wang et al.
    2023, ND).

    Args:
        student: float [B, D].
        teacher: float [B, D]; no gradient flows into it.
        means: float [B, D], the mean of the teacher's representations of each example's class, of any norm; zeros where
            it is not known, where the loss is 1 without a gradient. No gradient flows into it.
        trust: float [B] in [0, 1].

    Returns:
        The sum over examples, each in [0, 2]; and their number.
    """
    vectors = student.float()
    directions = F.normalize(means.detach().float(), dim=-1, eps=_LEAST_NORM)
    longest = torch.maximum(vectors.norm(dim=-1), teacher.detach().float().norm(dim=-1)).clamp_min(_LEAST_NORM)
    return weigh(1.0 - (vectors * directions).sum(-1) / longest, trust)


def _check_shapes(student: Tensor, teacher: Tensor) -> None:
    if student.shape != teacher.shape:
        raise ConfigError(
            f"The student's features are {list(student.shape)} and the teacher's {list(teacher.shape)}; "
            "a projector must bring them to the same shape."
        )


def feature_l1(student: Tensor, teacher: Tensor, *, trust: Tensor | None = None) -> Term:
    """The mean absolute difference of two representations.

    Args:
        student: float [B, ...].
        teacher: the same shape; no gradient flows into it.
        trust: float [B] in [0, 1].

    Returns:
        The sum over examples of the mean over a representation's elements of the absolute difference.

    Raises:
        ConfigError: the shapes differ.
    """
    _check_shapes(student, teacher)
    return weigh((student.float() - teacher.detach().float()).abs().flatten(1).mean(-1), trust)
