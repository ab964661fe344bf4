"""Collapse of a representation into a few dimensions."""

import math
from typing import final

import torch
from torch import Tensor

from didact.errors import check_range
from didact.health.base import BaseMonitor
from didact.types import Level, Output, Verdict, Window

_NEEDED = 0.5
"""The rank that is always accepted for a classifier, as a fraction of its number of classes minus one."""


def effective_rank(hidden: Tensor) -> float:
    """The effective rank of a representation.

    The exponential of the entropy of the normalised singular values of the centred matrix (Roy and Vetterli, "The
    effective rank: a measure of effective dimensionality", EUSIPCO 2007). The singular values are the square roots of
    the eigenvalues of the smaller Gram matrix, in float64; those within the rounding error of the input's dtype are
    left out.

    Args:
        hidden: [N, D] or [N, ...], floating point.

    Returns:
        Between 1 and min(N - 1, D); 0.0 if all rows are equal; NaN if a value is not finite.
    """
    rows = hidden.detach().flatten(1)
    resolution = torch.finfo(rows.dtype).eps
    rows = rows.to("cpu", torch.float64)
    floor = resolution * float(rows.norm())
    if not math.isfinite(floor):
        return math.nan
    rows = rows - rows.mean(0)
    gram = rows @ rows.T if rows.shape[0] < rows.shape[1] else rows.T @ rows
    eigenvalues = torch.linalg.eigvalsh(gram)
    own_rounding = torch.finfo(torch.float64).eps * gram.shape[0] * max(float(eigenvalues[-1]), 0.0)
    singular = eigenvalues[eigenvalues > max(floor**2, own_rounding)].sqrt()
    if not singular.numel():
        return 0.0
    share = singular / singular.sum()
    return float(torch.special.entr(share).sum().exp())


@final
class EffectiveRank(BaseMonitor):
    """Objects when the probe's hidden states use too few directions, or far fewer than they did before.

    A classifier that fits its training data ends with one direction fewer than it has classes (neural collapse: Papyan,
    Han and Donoho, PNAS 2020), slightly less for imbalanced classes, so a rank of at least half of that is never called
    a collapse. The figure is the effective rank; in a window without probing it is the last one.

    Args:
        action: the action that it requests.
        minimum: the lowest rank, as a fraction of the largest possible, min(N, D); in [0, 1].
        collapse: the lowest rank, as a fraction of the highest in this run; in [0, 1].
    """

    name = "effective_rank"
    materials = ("examples",)
    kept = ("highest", "last")

    def __init__(self, *, action: Level = "warn", minimum: float = 0.02, collapse: float = 0.2) -> None:
        super().__init__(action)
        check_range("EffectiveRank(minimum=...)", minimum, at_least=0, at_most=1)
        check_range("EffectiveRank(collapse=...)", collapse, at_least=0, at_most=1)
        self.minimum, self.collapse = minimum, collapse
        self.highest = 0.0
        self.last = 0.0

    def observe(self, window: Window) -> Verdict:
        """Measure the rank if the window allows probing."""
        if window.probe is None:
            return Verdict("ok", self.name, self.last, "This window was not probed.")
        output = window.probe()
        if output.hidden is None:
            return Verdict("ok", self.name, self.last, "The learner shows no hidden states, so there is no rank.")
        return self._verdict(output, output.hidden)

    def _verdict(self, output: Output, hidden: Tensor) -> Verdict:
        rank = effective_rank(hidden)
        if math.isnan(rank):
            return Verdict(self.action, self.name, self.last, "The hidden states hold values that are not finite.")
        limit = min(hidden.shape[0], hidden[0].numel())
        highest = self.highest = max(self.highest, rank)
        self.last = rank
        found = f"The hidden states use {rank:.1f} of {limit} directions"
        if rank == 0.0:
            return Verdict(self.action, self.name, rank, "The hidden states are the same for every example.")
        if rank >= _NEEDED * (output.logits.shape[-1] - 1):
            return Verdict("ok", self.name, rank, f"{found}.")
        if rank < self.minimum * limit:
            reason = f"{found}, under {self.minimum:.0%} of them: the representation has collapsed."
            return Verdict(self.action, self.name, rank, reason)
        if rank < self.collapse * highest:
            reason = f"{found}, and used {highest:.1f} before: the representation is collapsing."
            return Verdict(self.action, self.name, rank, reason)
        return Verdict("ok", self.name, rank, f"{found}.")
