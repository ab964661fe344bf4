"""A memory bank with the latest embedding of each example."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from didact import hashing
from didact.errors import check_range
from didact.memory.per_example import PerExample


class EmbeddingBank(PerExample):
    """Embeddings by row (Wu et al. 2018, section 3.2; Tian et al. 2020).

    The rows are random at the start, drawn from torch's generator as the weights of a layer are.

    Args:
        size: the number of rows, N.
        width: of an embedding, D.
        momentum: in [0, 1), the share of the old row that is kept at an update.

    Raises:
        ConfigError: a value out of range.
    """

    embedding: Tensor
    """float32 [N, D], each of length 1; at the start uniform in each number, with a mean square length of 1."""
    drawn: Tensor
    """int64 scalar, the number of rows drawn so far."""

    def __init__(self, size: int, width: int, *, momentum: float = 0.5) -> None:
        super().__init__(size, {"embedding": (width,)})
        check_range("momentum", momentum, at_least=0.0, below=1.0)
        self.momentum = momentum
        self.embedding.uniform_(-math.sqrt(3 / width), math.sqrt(3 / width))
        self.register_buffer("drawn", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def move(self, rows: Tensor, embeddings: Tensor) -> None:
        """Move the rows of some examples towards their present embeddings.

        Args:
            rows: int64 [B].
            embeddings: float [B, D], of length 1; kept without a gradient.
        """
        kept = torch.lerp(embeddings.detach().float(), self.get(rows, "embedding"), self.momentum)
        self.put(rows, "embedding", F.normalize(kept, dim=1))

    def others(self, rows: Tensor, most: int) -> tuple[Tensor, Tensor]:
        """Negatives for some examples: all rows, or a random sample of them.

        Args:
            rows: int64 [B], the examples'.
            most: the largest number of negatives, K; of more rows, K are drawn with replacement. Every process draws
                the same.

        Returns:
            int64 [min(K, N)], the rows; and bool [B, min(K, N)], True for an example's own row, which is no negative.
        """
        found = torch.arange(len(self), device=rows.device)
        if most < len(self):
            chance = hashing.uniform(self.drawn + found[:most], 0, "negatives")
            self.drawn += most
            found = (chance * len(self)).long()
        return found, found == rows.unsqueeze(1)
