"""Contrast of pairs of a source and a target, with targets that were moved so that the pairs are hard."""

import torch
from torch import Tensor
from torch.nn import functional as F

from didact.errors import check_range
from didact.losses._precision import full_precision
from didact.types import Term


def pair_contrast(source: Tensor, target: Tensor, *, temperature: float = 0.1) -> Term:
    """The cross-entropy of each source's own target among those of the batch, by cosine over the temperature.

    Args:
        source: float [B, D].
        target: float [B, D].
        temperature: above 0.

    Returns:
        The sum over sources, and their number B.

    Raises:
        ConfigError: the temperature is out of range.
    """
    check_range("temperature", temperature, above=0.0)
    return _term(_own(_cosines(source, target) / temperature))


def hard_pair_contrast(
    source: Tensor, target: Tensor, negative: Tensor, positive: Tensor, *, temperature: float = 0.1
) -> Term:
    """The same with one more wrong target for each source, and the mean with that of another right target.

    CLAPS (Lee, Lee & Hwang 2021, "Contrastive learning with adversarial perturbations for conditional text
    generation"). As in the authors' code, the cosines with the other right target are not divided by the temperature.

    Args:
        source: float [B, D].
        target: float [B, D].
        negative: float [B, D]: a target that is near each source's own, but wrong.
        positive: float [B, D]: one that is far from it, but right.
        temperature: above 0.

    Returns:
        The sum over sources, and their number B.

    Raises:
        ConfigError: the temperature is out of range.
    """
    check_range("temperature", temperature, above=0.0)
    cosines = _cosines(source, target)
    wrong, right = (F.cosine_similarity(source.float(), other.float())[:, None] for other in (negative, positive))
    own = torch.eye(len(source), dtype=torch.bool, device=source.device)
    near, far = torch.cat([cosines, wrong], 1), torch.cat([torch.where(own, right, cosines), wrong], 1)
    return _term((_own(near / temperature) + _own(far)) / 2)


def _cosines(source: Tensor, target: Tensor) -> Tensor:
    with full_precision(source):
        return F.normalize(source.float(), dim=1) @ F.normalize(target.float(), dim=1).T


def _own(scores: Tensor) -> Tensor:
    """The cross-entropy of the class of its own number in each row [B, B or more]; [B]."""
    return F.cross_entropy(scores, torch.arange(len(scores), device=scores.device), reduction="none")


def _term(rows: Tensor) -> Term:
    return Term(rows.sum(), len(rows), rows=rows)
