"""A memory bank with the latest embedding of each example."""

import torch
from torch import Tensor
from torch.nn import functional as F

from didact import hashing
from didact.errors import check_range
from didact.memory.per_example import PerExample


class EmbeddingBank(PerExample):
    """Embeddings by row, each of length 1 (Wu et al. 2018, section 3.2; Tian et al. 2020).

    Args:
        size: the number of rows, N.
        width: of an embedding, D.
        momentum: in [0, 1), the share of the old row that is kept at an update.

    Raises:
        ConfigError: a value out of range.
    """

    embedding: Tensor
    """float32 [N, D], each of length 1, or zeros for examples that were not seen yet."""
    drawn: Tensor
    """int64 scalar, the number of rows drawn so far."""

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
            float32 [B, D], the updated rows, of length 1.
        """
        embeddings, kept = embeddings.detach().float(), self.get(rows, "embedding")
        known = self.seen[rows].unsqueeze(1)
        moved = F.normalize(torch.where(known, torch.lerp(embeddings, kept, self.momentum), embeddings), dim=1)
        self.put(rows, "embedding", moved)
        return moved

    def others(self, rows: Tensor, most: int) -> tuple[Tensor, Tensor]:
        """Negatives for some examples: all rows, or a random sample of the filled ones.

        Args:
            rows: int64 [B], the examples', of which at least one was moved before.
            most: the largest number of negatives, K; of more rows, K are drawn with replacement. Every process draws
                the same.

        Returns:
            int64 [min(K, N)], the rows; and bool [B, min(K, N)], True for the rows that are no negatives: an example's
            own, and those that are empty.
        """
        found = torch.arange(len(self), device=self.seen.device)
        if most < len(self):
            ends = self.seen.cumsum(0)
            chance = hashing.uniform(self.drawn + found[:most], 0, "negatives")
            self.drawn += most
            found = torch.searchsorted(ends, (chance * ends[-1]).long(), right=True)
        return found, (found == rows.unsqueeze(1)) | ~self.seen[found]
