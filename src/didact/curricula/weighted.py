"""Examples that are sampled by weight."""

import torch
from torch import Tensor

from didact.curricula.uniform import Uniform
from didact.errors import ConfigError


class Weighted(Uniform):
    """Epochs in which each example occurs in proportion to its weight, in a new random order each time.

    An epoch has as many draws as there are examples. An example with 1.3 times the mean weight is drawn once or twice
    in each, and 1.3 times on average: systematic sampling (Madow 1949). `Stateful`, like `Uniform`.

    Args:
        weights: float [N], non-negative, not all 0.
        seed: the seed of the random number generator.

    Raises:
        ConfigError: invalid weights.
    """

    def __init__(self, weights: Tensor, seed: int = 0) -> None:
        weights = weights.double()
        if not bool(weights.isfinite().all() and (weights >= 0).all() and weights.sum() > 0):
            raise ConfigError("weights must be finite numbers of at least 0, of which one is more than 0.")
        self.counts = weights * (len(weights) / weights.sum())
        super().__init__(len(weights), seed)

    def _shuffle(self) -> None:
        """Draw the next epoch: equidistant marks over the shares of the examples, in random order."""
        super()._shuffle()
        ends = self.counts[self._order].cumsum(0)
        marks = torch.arange(self.size) + torch.rand((), generator=self._generator, dtype=torch.float64)
        drawn = self._order[torch.searchsorted(ends, marks, right=True).clamp(max=self.size - 1)]
        self._order = drawn[torch.randperm(self.size, generator=self._generator)]
