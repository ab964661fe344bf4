"""A reservoir sample of a stream."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from didact.errors import DataError
from didact.memory.per_example import PerExample


class Reservoir(nn.Module):
    """A fixed number of rows, a nearly uniform sample of all rows so far.

    Once it is full, each row of a batch replaces a random one with a probability of the size over the number of rows so
    far (reservoir sampling, Vitter 1985), all rows of a batch at once and in different places. Nothing waits for the
    device. The state is in buffers: saved in checkpoints, and moved with the module. The places are drawn from the
    global generator.

    Args:
        size: the number of rows, R; at least 1.
        columns: the shape of a row by name; see `PerExample`.
        dtypes: by name; float32 where none is given.

    Raises:
        ConfigError: the size is out of range, or a name of a column is invalid.
    """

    seen: Tensor
    """int64 scalar, the number of rows so far."""

    def __init__(
        self, size: int, columns: Mapping[str, Sequence[int]], *, dtypes: Mapping[str, torch.dtype] | None = None
    ) -> None:
        super().__init__()
        self.table = PerExample(size, columns, dtypes=dtypes)
        """The rows, in no particular order."""
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def put(self, **columns: Tensor) -> None:
        """Add a batch.

        Args:
            columns: [B, ...] each, every column, with B at most R; stored without a gradient.

        Raises:
            DataError: there are more than R rows, or other columns.
        """
        if columns.keys() != set(self.table.columns):
            raise DataError(
                f"The reservoir was given {', '.join(columns) or 'nothing'}, but has {', '.join(self.table.columns)}."
            )
        rows = next(iter(columns.values()))
        count, size, device = len(rows), len(self.table), rows.device
        if count > size:
            raise DataError(f"A batch of {count} was put into a reservoir of {size} rows; give at most {size}.")
        filling = self.seen < size
        free = (self.seen + torch.arange(count, device=device)) % size
        at = torch.where(filling, free, torch.randperm(size, device=device)[:count])
        kept = filling | (torch.rand(count, device=device) * (self.seen + count) < size)
        for name, values in columns.items():
            before = self.table.get(at, name)
            kept_rows = kept.view(-1, *[1] * (before.ndim - 1))
            self.table.put(at, name, torch.where(kept_rows, values.to(before.dtype), before))
        self.seen += count

    def draw(self, count: int) -> dict[str, Tensor]:
        """Draw rows with replacement.

        Args:
            count: the number of rows.

        Returns:
            [count, ...] by column; zeros while the reservoir is empty.
        """
        chance = torch.rand(count, device=self.seen.device)
        filled = self.seen.clamp(min=1, max=len(self.table))
        at = (chance * filled).long().clamp(max=filled - 1)
        return {name: self.table.get(at, name) for name in self.table.columns}
