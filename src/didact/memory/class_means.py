"""Running means of anything, class by class."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from didact.errors import CheckpointError, check_range


class ClassMeans:
    """The mean of what was seen of each class, in which earlier batches weigh less.

    Kept as sums and counts, both multiplied by `decay` whenever something is added.

    Args:
        classes: how many classes there are, C.
        shape: of one value; () for numbers.
        decay: above 0 and at most 1; what remains of the weight of all that came before, and 1 for plain means.
        prior: the mean of a class of which nothing was seen.

    Raises:
        ConfigError: the number of classes or the decay is out of range.
    """

    def __init__(self, classes: int, shape: Sequence[int] = (), *, decay: float = 0.9, prior: float = 0.0) -> None:
        check_range("classes", classes, at_least=1)
        check_range("decay", decay, above=0.0, at_most=1.0)
        self.decay, self.prior = decay, prior
        self.sums = torch.zeros(classes, *shape)
        """float32 [C, ...]."""
        self.counts = torch.zeros(classes)
        """float32 [C], 0 or more."""

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
        self.sums = self.sums * self.decay + sums
        self.counts = self.counts * self.decay + counts

    def to(self, device: torch.device | str) -> Self:
        """Move the sums and counts, in place."""
        self.sums, self.counts = self.sums.to(device), self.counts.to(device)
        return self

    def state_dict(self) -> dict[str, Any]:
        """The sums and counts."""
        return {"sums": self.sums, "counts": self.counts}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Take back what `state_dict` gave.

        Raises:
            CheckpointError: it is of other classes or values.
        """
        if state["sums"].shape != self.sums.shape:
            raise CheckpointError(
                f"The saved means by class are {list(state['sums'].shape)}, but {list(self.sums.shape)} are wanted "
                "here; resume with the same data and options."
            )
        self.sums = state["sums"].to(self.sums, copy=True)
        self.counts = state["counts"].to(self.counts, copy=True)
