"""Running means by class."""

from collections.abc import Sequence

import torch
from torch import Tensor

from didact.errors import check_range
from didact.memory.per_example import PerExample


class ClassMeans(PerExample):
    """An exponentially weighted mean of values for each class.

    Args:
        classes: the number of classes, C.
        shape: of one value; () for numbers.
        decay: above 0 and at most 1; factor of the weight of earlier batches, 1 for plain means.
        prior: the mean of a class without values.

    Raises:
        ConfigError: the number of classes or the decay is out of range.
    """

    mean: Tensor
    """float32 [C, ...]; the prior for a class without values."""
    weight: Tensor
    """float32 [C], the total weight of values, 0 or more."""

    def __init__(self, classes: int, shape: Sequence[int] = (), *, decay: float = 0.9, prior: float = 0.0) -> None:
        super().__init__(classes, {"mean": shape, "weight": ()})
        check_range("decay", decay, above=0.0, at_most=1.0)
        self.decay = decay
        self.mean.fill_(prior)

    @torch.no_grad()
    def update(self, labels: Tensor, values: Tensor) -> None:
        """Add a batch.

        Args:
            labels: int64 [B]; a negative number, as `IGNORE`, leaves the value out, even if it is NaN.
            values: float [B, ...].
        """
        known = labels >= 0
        kept = torch.where(_like(known, values), values.to(self.mean.dtype), 0.0)
        classes = labels.clamp(min=0)
        self.add(
            torch.zeros_like(self.mean).index_add_(0, classes, kept),
            torch.zeros_like(self.weight).index_add_(0, classes, known.to(self.weight.dtype)),
        )

    @torch.no_grad()
    def add(self, sums: Tensor, counts: Tensor) -> None:
        """Add sums and counts.

        Args:
            sums: float [C, ...], of the values of each class.
            counts: [C], their numbers.
        """
        there, counts = counts > 0, counts.to(self.weight.dtype)
        self.weight.mul_(self.decay).add_(counts)
        moved = torch.lerp(self.mean, sums / _like(counts, sums), _like(counts / self.weight, sums))
        # An absent class keeps its mean, however small its weight has become.
        self.mean.copy_(torch.where(_like(there, sums), moved, self.mean))
        self.seen.logical_or_(there)


def _like(numbers: Tensor, values: Tensor) -> Tensor:
    """Reshape numbers [C] to [C, 1, ...], for broadcasting with values [C, ...]."""
    return numbers.view(-1, *[1] * (values.ndim - 1))
