"""A table with one row per example, for values that are kept between batches."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from didact.errors import ConfigError, check_range


class PerExample(nn.Module):
    """A table of tensors with one row per example: losses, embeddings, pseudo-labels, a teacher's signals.

    Rows are those of batches (`row`), or of an `Index`. Reading and writing do not wait for the device. The columns are
    buffers: they are saved in checkpoints, and moved with the module that holds the table.

    Args:
        size: the number of rows, N, at least 1.
        columns: the shape of a row by name; () for numbers.
        dtypes: by name; float32 where none is given.

    Raises:
        ConfigError: a size below 1, or an invalid name of a column.
    """

    seen: Tensor
    """bool [N], the rows that were written."""

    def __init__(
        self,
        size: int,
        columns: Mapping[str, Sequence[int]],
        *,
        dtypes: Mapping[str, torch.dtype] | None = None,
    ) -> None:
        super().__init__()
        check_range("size", size, at_least=1)
        self.columns = tuple(columns)
        with torch.inference_mode(False):  # else it could be written in that mode only, but not when a run is resumed
            self.register_buffer("seen", torch.zeros(size, dtype=torch.bool))
            for name, shape in columns.items():
                if hasattr(self, name) or "." in name:
                    raise ConfigError(f"columns has the name {name!r}, which a table uses itself; choose another.")
                self.register_buffer(name, torch.zeros(size, *shape, dtype=(dtypes or {}).get(name, torch.float32)))

    def __len__(self) -> int:
        """The number of rows, N."""
        return len(self.seen)

    def get(self, rows: Tensor, name: str) -> Tensor:
        """Read a column.

        Args:
            rows: int64 [B].
            name: the column's.

        Returns:
            [B, ...], a copy; zeros for rows that were not written.
        """
        return self.get_buffer(name).index_select(0, rows)

    @torch.no_grad()
    def put(self, rows: Tensor, name: str, values: Tensor) -> None:
        """Write a column; earlier values are replaced.

        Args:
            rows: int64 [B]; if one is repeated, either value may be stored.
            name: the column's.
            values: [B, ...], stored without a gradient, in the column's dtype.
        """
        column = self.get_buffer(name)
        column.index_copy_(0, rows, values.to(column))
        self.seen.index_fill_(0, rows, True)

    @torch.no_grad()
    def drop(self, rows: Tensor) -> None:
        """Mark some rows (int64 [B]) as not written."""
        for column in self.buffers():
            column.index_fill_(0, rows, 0)
