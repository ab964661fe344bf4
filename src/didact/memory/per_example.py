"""A table with a row for each example, for whatever is kept of it from one batch to a later one."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from didact.errors import ConfigError, check_range


class PerExample(nn.Module):
    """Columns of tensors by row: losses, embeddings, beliefs, a teacher's answers.

    Rows are those of batches (`row`), or of an `Index`. Reading and writing wait for no device. The columns are
    buffers: saved with checkpoints, and moved with the module that holds the table.

    Args:
        size: how many rows, N, at least 1.
        columns: the shape of a row by name; () for numbers.
        dtypes: by name; float32 where none is given.

    Raises:
        ConfigError: a size below 1, or a name that cannot be a column's.
    """

    seen: Tensor
    """bool [N], the rows in which anything was put."""

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
        with torch.inference_mode(False):  # else it could be written only in that mode, and not when a run is resumed
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
            [B, ...], a copy; zeros where nothing was put.
        """
        return self.get_buffer(name).index_select(0, rows)

    @torch.no_grad()
    def put(self, rows: Tensor, name: str, values: Tensor) -> None:
        """Write a column; what was there is replaced.

        Args:
            rows: int64 [B]; where one comes twice, either value may stay.
            name: the column's.
            values: [B, ...], kept without a gradient, in the column's data type.
        """
        column = self.get_buffer(name)
        column.index_copy_(0, rows, values.to(column))
        self.seen.index_fill_(0, rows, True)

    @torch.no_grad()
    def drop(self, rows: Tensor) -> None:
        """Forget some rows (int64 [B])."""
        for column in self.buffers():
            column.index_fill_(0, rows, 0)
