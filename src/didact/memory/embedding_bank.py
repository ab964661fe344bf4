"""An embedding of each of many examples, as it was when the example was last seen."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from didact.errors import check_range


class EmbeddingBank(nn.Module):
    """Embeddings by id, in a table of fixed size (Wu et al. 2018, section 3.2; Tian et al. 2020).

    The row of an example is its id modulo the size, so that ids from 0 to size - 1 share none; where two examples meet
    in a row, the later one takes it over. Nothing waits for the device. The state is in buffers: saved with
    checkpoints, and moved with the module.

    Args:
        size: how many rows, R; at least 2.
        width: of an embedding, D.
        momentum: in [0, 1), how much of the row stays when an example comes again.

    Raises:
        ConfigError: a value out of range.
    """

    rows: Tensor
    """float32 [R, D], each of length 1, or zeros where no example was put yet."""
    ids: Tensor
    """int64 [R], the example in each row."""
    filled: Tensor
    """bool [R]."""

    def __init__(self, size: int, width: int, *, momentum: float = 0.5) -> None:
        super().__init__()
        check_range("size", size, at_least=2)
        check_range("momentum", momentum, at_least=0.0, below=1.0)
        self.momentum = momentum
        self.register_buffer("rows", torch.zeros(size, width))
        self.register_buffer("ids", torch.zeros(size, dtype=torch.int64))
        self.register_buffer("filled", torch.zeros(size, dtype=torch.bool))

    @torch.no_grad()
    def put(self, ids: Tensor, embeddings: Tensor) -> Tensor:
        """Move the rows of some examples towards their present embeddings; a new example's row is set to it.

        Args:
            ids: int64 [B].
            embeddings: float [B, D], of length 1; kept without a gradient.

        Returns:
            float32 [B, D], the examples' rows as they are now, of length 1.
        """
        at = ids.remainder(len(self.ids))
        known = (self.filled[at] & (self.ids[at] == ids)).unsqueeze(1)
        embeddings = embeddings.detach().float()
        mixed = F.normalize(torch.where(known, torch.lerp(embeddings, self.rows[at], self.momentum), embeddings), dim=1)
        self.rows.index_copy_(0, at, mixed)
        self.ids.index_copy_(0, at, ids)
        self.filled.index_fill_(0, at, True)
        return mixed

    def no_negative(self, ids: Tensor) -> Tensor:
        """Which rows are no other example, for each of some examples: its own, and those that are empty.

        Args:
            ids: int64 [B].

        Returns:
            bool [B, R].
        """
        return (self.ids == ids.unsqueeze(1)) | ~self.filled
