"""Examples of which some come more often than others."""

import torch
from torch import Tensor

from didact.curricula.uniform import Uniform
from didact.errors import ConfigError


class Weighted(Uniform):
    """Passes in which each example comes as often as its weight says, in a new random order each time.

    A pass is as long as there are examples. In each, an example whose share of the weights is that of 1.3 of them comes
    once or twice, and 1.3 times on average: systematic sampling (Madow 1949). `Stateful`, as `Uniform` is.

    Args:
        weights: float [N], not negative, and not all 0.
        seed: the only source of randomness.

    Raises:
        ConfigError: weights that are none.
    """

    def __init__(self, weights: Tensor, seed: int = 0) -> None:
        weights = weights.double()
        if not bool(weights.isfinite().all() and (weights >= 0).all() and weights.sum() > 0):
            raise ConfigError("weights must be finite numbers of at least 0, of which one is more than 0.")
        self.counts = weights * (len(weights) / weights.sum())
        super().__init__(len(weights), seed)

    def _shuffle(self) -> None:
        """Draw the next pass: marks at equal distances over the examples' shares, these in random order."""
        super()._shuffle()
        ends = self.counts[self._order].cumsum(0)
        marks = torch.arange(self.size) + torch.rand((), generator=self._generator, dtype=torch.float64)
        drawn = self._order[torch.searchsorted(ends, marks, right=True).clamp(max=self.size - 1)]
        self._order = drawn[torch.randperm(self.size, generator=self._generator)]
