"""The place of a computation: a device, and the rank of this process among those that train together.

Every process reads the same batches and learns from its own rows of them. Sums over rows, counts and gradients alike,
are then summed over processes, so that each takes the same step; losses that compare examples first gather those of the
other processes. A place of one process does none of this, and costs nothing.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar, overload

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import FunctionCtx

from didact.errors import ConfigError, PeerError
from didact.types.batches import Batch

T = TypeVar("T")


@contextmanager
def together() -> Iterator[None]:
    """Turn what torch says of a process that has ended into a `PeerError`; other errors of collectives too."""
    try:
        yield
    except RuntimeError as error:
        detail = " ".join(str(error).split())[:200]
        raise PeerError(
            f"Another of the processes that learn together has ended, or cannot be reached ({detail}). What it said "
            "tells why; with a directory, the run goes on from its last checkpoint."
        ) from error


@dataclass(frozen=True, slots=True)
class Place:
    """A device, and the rank of this process among those that train together.

    Raises:
        ConfigError: a rank that is not below the size.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    rank: int = 0
    """From 0."""
    size: int = 1
    """The number of processes."""

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.size:
            raise ConfigError(f"rank is {self.rank}, but must be at least 0 and below size = {self.size}.")

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and output."""
        return self.rank == 0

    def mine(self, batch: Batch) -> Batch:
        """This process's rows of a batch: consecutive rows, as many as those of the others or one more.

        Args:
            batch: B rows, at least as many as there are processes.

        Raises:
            ConfigError: fewer rows than processes.
        """
        if self.size == 1:
            return batch
        if batch.size < self.size:
            raise ConfigError(
                f"A batch has {batch.size} rows for {self.size} processes; use a larger batch_size, or fewer processes."
            )
        return batch.select(torch.arange(batch.size, device=batch["id"].device).tensor_split(self.size)[self.rank])

    def shard(self, items: Sequence[T]) -> list[T]:
        """This process's part of a sequence, cut as `mine` cuts a batch; may be empty."""
        if self.size == 1:
            return list(items)
        each, more = divmod(len(items), self.size)
        start = self.rank * each + min(self.rank, more)
        return list(items[start : start + each + (self.rank < more)])

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors, in place, by their sums over all processes; they carry no gradient.

        Args:
            tensors: of one dtype, the same shapes in every process.
        """
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
        with together():
            dist.all_reduce(flat)
        parts = flat.split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.detach().copy_(part.view(tensor.shape))

    def max(self, numbers: Sequence[float]) -> list[float]:
        """The elementwise maximum over all processes, so that all act on the same numbers."""
        if self.size == 1:
            return list(numbers)
        found = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        with together():
            dist.all_reduce(found, op=dist.ReduceOp.MAX)
        return found.tolist()

    @overload
    def gather(self, tensor: Tensor, *, each: int | None = None) -> Tensor: ...
    @overload
    def gather(self, tensor: None, *, each: int | None = None) -> None: ...
    def gather(self, tensor: Tensor | None, *, each: int | None = None) -> Tensor | None:
        """The rows of all processes, in the order of the batch that `mine` cut.

        Every process computes the whole loss of the gathered rows: its term has the same sum and count everywhere, so
        that the mean is that of one process. The gradient is summed over processes.

        Args:
            tensor: [K, ...], this process's rows; K may differ between processes, the other dimensions may not. None,
                as for full trust, stays None.
            each: K, if it is the same in all processes, which need not ask each other then.

        Returns:
            [B, ...], differentiable with respect to this process's rows.
        """
        if self.size == 1 or tensor is None:
            return tensor
        sizes = self.gather_objects(len(tensor)) if each is None else [each] * self.size
        return _Gather.apply(tensor, self, sizes)

    def broadcast(self, value: T) -> T:
        """Return the first process's value in all of them, such as what it read from files, which it alone writes."""
        return value if self.size == 1 else self.gather_objects(value)[0]

    def gather_objects(self, value: T) -> list[T]:
        """The values of all processes, by rank; any that can be pickled between the processes of a run."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        with together():
            dist.all_gather_object(found, value)
        return found


class _Gather(torch.autograd.Function):
    """Rows of all processes; their gradient is summed over processes and returned to the process of each row."""

    @staticmethod
    def forward(ctx: FunctionCtx, tensor: Tensor, place: Place, sizes: list[int]) -> Tensor:
        ctx.place, ctx.sizes = place, sizes  # pyright: ignore[reportAttributeAccessIssue]
        # The processes' numbers of rows differ by one at most; the smaller ones are padded.
        padded = tensor.new_zeros(max(sizes), *tensor.shape[1:])
        padded[: tensor.shape[0]] = tensor.detach()
        found = [torch.empty_like(padded) for _ in sizes]
        with together():
            dist.all_gather(found, padded)
        return torch.cat([part[:size] for part, size in zip(found, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (grad,) = grads
        whole = grad.contiguous().clone()
        with together():
            dist.all_reduce(whole)
        return whole.split(ctx.sizes)[ctx.place.rank], None, None
