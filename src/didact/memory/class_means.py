"""Running means of anything, class by class."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from didact.errors import check_range


class ClassMeans(nn.Module):
    """The mean of what was seen of each class, in which earlier batches weigh less.

    Kept as sums and counts, both multiplied by `decay` whenever something is added. The state is in buffers: saved with
    checkpoints, and moved with the module.

    Args:
        classes: how many classes there are, C.
        shape: of one value; () for numbers.
        decay: above 0 and at most 1; what remains of the weight of all that came before, and 1 for plain means.
        prior: the mean of a class of which nothing was seen.

    Raises:
        ConfigError: the number of classes or the decay is out of range.
    """

    sums: Tensor
    """float32 [C, ...]."""
    counts: Tensor
    """float32 [C], 0 or more."""

    def __init__(self, classes: int, shape: Sequence[int] = (), *, decay: float = 0.9, prior: float = 0.0) -> None:
        super().__init__()
        check_range("classes", classes, at_least=1)
        check_range("decay", decay, above=0.0, at_most=1.0)
        self.decay, self.prior = decay, prior
        self.register_buffer("sums", torch.zeros(classes, *shape))
        self.register_buffer("counts", torch.zeros(classes))

    @property
    def means(self) -> Tensor:
        """The means now, float32 [C, ...]."""
        counts = self.counts.view(-1, *[1] * (self.sums.ndim - 1))
        tiny = torch.finfo(counts.dtype).tiny
        return torch.where(counts > 0, self.sums / counts.clamp(min=tiny), self.prior)

    @torch.no_grad()
    def update(self, labels: Tensor, values: Tensor) -> None:
        """Add a batch.

        Args:
            labels: int64 [B]; a negative number, as `IGNORE`, leaves the value out, whatever it is.
            values: float [B, ...].
        """
        known = labels >= 0
        there = known.view(-1, *[1] * (values.ndim - 1))
        kept = torch.where(there, values.to(self.sums.dtype), 0.0)
        classes = labels.clamp(min=0)
        self.add(
            torch.zeros_like(self.sums).index_add_(0, classes, kept),
            torch.zeros_like(self.counts).index_add_(0, classes, known.to(self.counts.dtype)),
        )

    @torch.no_grad()
    def add(self, sums: Tensor, counts: Tensor) -> None:
        """Add what was summed elsewhere.

        Args:
            sums: float [C, ...], of the values of each class.
            counts: [C], how many there were.
        """
        self.sums.mul_(self.decay).add_(sums)
        self.counts.mul_(self.decay).add_(counts)
