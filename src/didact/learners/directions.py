"""Principal directions within classes."""

import torch
from torch import Tensor, nn

from didact.errors import ConfigError


class ClassDirections(nn.Module):
    """For each class, the principal directions of its members' representations, accumulated over batches.

    Args:
        width: of a representation, D.
        classes: the number of classes, C.
        count: the number of directions, S; at most D - C, since the row space of a head of C rows can be left out.

    Raises:
        ConfigError: the representation is too narrow.
    """

    directions: Tensor
    mean: Tensor
    spread: Tensor
    number: Tensor
    total: Tensor
    products: Tensor

    def __init__(self, width: int, classes: int, count: int) -> None:
        super().__init__()
        if count > width - classes:
            raise ConfigError(
                f"subclasses is {count}, but a representation of width {width} with {classes} classes has "
                f"{max(width - classes, 0)} directions beside those that the head reads; ask for fewer, or give a "
                "teacher whose last layer is wider."
            )
        self.register_buffer("spread", torch.ones(classes, count))
        for name, shape in {
            "directions": (classes, width, count),
            "mean": (classes, width),
            "number": (classes,),
            "total": (classes, width),
            "products": (classes, width, width),
        }.items():
            self.register_buffer(name, torch.zeros(shape))

    @torch.no_grad()
    def accumulate(self, hidden: Tensor, classes: Tensor) -> None:
        """Accumulate representations float [B, D] of members of `classes`, int64 [B], for the next `update`."""
        rows = hidden.float()
        member_BC = nn.functional.one_hot(classes, len(self.number)).to(rows.dtype)
        self.number += member_BC.sum(0)
        self.total += member_BC.T @ rows
        self.products += torch.einsum("bc,bd,be->cde", member_BC, rows, rows)

    @torch.no_grad()
    def update(self, ignored: Tensor | None = None) -> None:
        """Find the directions of the largest variance within each class, the largest first.

        Args:
            ignored: float [K, D]; its row space is projected out, such as that of a head.
        """
        number = self.number.clamp(min=1.0)[:, None]
        self.mean.copy_(self.total / number)
        covariance = self.products / number[..., None] - self.mean[:, :, None] * self.mean[:, None, :]
        # Eigenvectors are computed on the CPU in double precision, once per run, so that all devices agree.
        covariance = covariance.cpu().double()
        if ignored is not None:
            _, sizes, axes = torch.linalg.svd(ignored.detach().cpu().double(), full_matrices=False)
            basis = axes[sizes > 1e-6 * sizes[0]]
            kept = torch.eye(basis.shape[-1], dtype=basis.dtype) - basis.T @ basis
            covariance = kept @ covariance @ kept
        variances, vectors = torch.linalg.eigh(covariance)
        count = self.directions.shape[-1]
        self.directions.copy_(vectors[..., -count:].flip(-1))
        # A class with fewer members than directions has some without variance.
        found = variances[:, -count:].flip(-1)
        self.spread.copy_(torch.where(found > 1e-8, found.clamp(min=1e-8).sqrt(), 1.0))

    def forward(self, hidden: Tensor) -> Tensor:
        """Project each example [B, D] onto the directions of each class, in standard deviations: [B, C, S].

        Zeros before the first `update`.
        """
        away_BCD = hidden.float()[:, None] - self.mean
        return torch.einsum("bcd,cds->bcs", away_BCD, self.directions) / self.spread
