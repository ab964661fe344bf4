"""Running means and standard deviations of features."""

import torch
from torch import Tensor, nn

from didact.types import Place

_LEAST = 0.01
"""The lower bound of a feature's variance, as a share of the features' mean variance."""


class Moments(nn.Module):
    """Standardises features by running means and standard deviations.

    Accumulated features take effect at the next `update`, so that every part of a step uses the same statistics.

    Args:
        features: float [B, D], [B, T, D] or [B, D, H, W]; the initial features. Positions count as examples.
        kept: the decay of the past at each `update`, in (0, 1]; 1 for features that don't change.
    """

    mean: Tensor
    spread: Tensor
    total: Tensor
    squares: Tensor
    count: Tensor

    def __init__(self, features: Tensor, *, kept: float = 1.0) -> None:
        super().__init__()
        self.kept = kept
        zeros = _rows(features).new_zeros(_rows(features).shape[-1])
        for name in ("mean", "spread", "total", "squares"):
            self.register_buffer(name, zeros.clone())
        self.register_buffer("count", zeros.new_zeros(()))
        self.accumulate(features)
        self.update()

    @torch.no_grad()
    def accumulate(self, features: Tensor, place: Place | None = None) -> None:
        """Accumulate a batch of features for the next `update`.

        Args:
            features: of the initial shape, except for B.
            place: gathers the rows of other processes; `features` are those of this one.
        """
        rows = _rows(features)
        sums = [rows.sum(0), rows.square().sum(0), rows.new_full((), len(rows))]
        if place is not None:
            place.sum(sums)
        for past, new in zip((self.total, self.squares, self.count), sums, strict=True):
            past += new

    @torch.no_grad()
    def update(self) -> None:
        """Update the means and standard deviations."""
        self.mean.copy_(self.total / self.count)
        variance = (self.squares / self.count - self.mean.square()).clamp(min=0.0)
        self.spread.copy_((variance.clamp(min=_LEAST * variance.mean()) + 1e-12).sqrt())
        for past in (self.total, self.squares, self.count):
            past *= self.kept

    def forward(self, features: Tensor) -> Tensor:
        """The standardised features, of the same shape."""
        shape = (-1, 1, 1) if features.ndim == 4 else (-1,)
        return (features.float() - self.mean.view(shape)) / self.spread.view(shape)


def _rows(features: Tensor) -> Tensor:
    """Float [N, D], one row for each example and position."""
    found = features.detach().float()
    return (found.movedim(1, -1) if found.ndim == 4 else found).reshape(-1, found.shape[1 if found.ndim == 4 else -1])
