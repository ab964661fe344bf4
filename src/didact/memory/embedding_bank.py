"""An embedding of each example, as it was when the example was last seen."""

import torch
from torch import Tensor
from torch.nn import functional as F

from didact import hashing
from didact.errors import check_range
from didact.memory.per_example import PerExample


class EmbeddingBank(PerExample):
    """Embeddings by row, each of length 1 (Wu et al. 2018, section 3.2; Tian et al. 2020).

    Args:
        size: how many rows, N.
        width: of an embedding, D.
        momentum: in [0, 1), how much of the row stays when an example comes again.

    Raises:
        ConfigError: a value out of range.
    """

    embedding: Tensor
    """float32 [N, D], each of length 1, or zeros where no example was seen yet."""
    drawn: Tensor
    """int64 scalar, how many rows were drawn so far."""

    def __init__(self, size: int, width: int, *, momentum: float = 0.5) -> None:
        super().__init__(size, {"embedding": (width,)})
        check_range("momentum", momentum, at_least=0.0, below=1.0)
        self.momentum = momentum
        self.register_buffer("drawn", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def move(self, rows: Tensor, embeddings: Tensor) -> Tensor:
        """Move the rows of some examples towards their present embeddings; a new example's row is set to it.

        Args:
            rows: int64 [B].
            embeddings: float [B, D], of length 1; kept without a gradient.

        Returns:
            float32 [B, D], the rows as they are now, of length 1.
        """
        embeddings, kept = embeddings.detach().float(), self.get(rows, "embedding")
        known = self.seen[rows].unsqueeze(1)
        moved = F.normalize(torch.where(known, torch.lerp(embeddings, kept, self.momentum), embeddings), dim=1)
        self.put(rows, "embedding", moved)
        return moved

    def others(self, rows: Tensor, most: int) -> tuple[Tensor, Tensor]:
        """Rows to tell some examples from: all there are, or a number of those that hold something.

        Args:
            rows: int64 [B], the examples', of which at least one was moved before.
            most: how many rows are wanted at most, K; where there are more, they are drawn with repeats. Every process
                draws the same.

        Returns:
            int64 [min(K, N)], the rows; and bool [B, min(K, N)], which of them are no other example: an example's own,
            and those in which nothing is yet.
        """
        found = torch.arange(len(self), device=self.seen.device)
        if most < len(self):
            ends = self.seen.cumsum(0)
            chance = hashing.uniform(self.drawn + found[:most], 0, "negatives")
            self.drawn += most
            found = torch.searchsorted(ends, (chance * ends[-1]).long(), right=True)
        return found, (found == rows.unsqueeze(1)) | ~self.seen[found]
