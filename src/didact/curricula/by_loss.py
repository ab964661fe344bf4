"""Hard examples more often, in proportion to their loss (as in prioritised replay; Schaul et al. 2016)."""

import torch
from torch import Tensor

from didact.curricula._latest import LatestValues
from didact.errors import check_range


class ByLoss(LatestValues):
    """Draws with replacement, with probabilities that are updated after every N draws; the first pass covers all.

    An example's probability is that of proportional prioritisation (section 3.3), with its loss in place of the
    temporal difference error, and a share of uniform draws in place of a constant added to it. Departure: there are no
    importance weights, since hard examples are meant to count more.

    Args:
        size: the number of examples, N, at least 1.
        seed: of the draws.
        power: of the loss, at least 0; 0 makes all examples equally likely.
        uniform: share of uniform draws, in [0, 1], so that every example keeps coming.

    Raises:
        ConfigError: a value out of range.
    """

    def __init__(self, size: int, seed: int = 0, *, power: float = 1.0, uniform: float = 0.1) -> None:
        check_range("power", power, at_least=0.0, below=float("inf"))
        check_range("uniform", uniform, at_least=0.0, at_most=1.0)
        super().__init__(size, seed)
        self.power, self.uniform = power, uniform

    def probabilities(self, values: Tensor) -> Tensor:
        """The probability of each example.

        Args:
            values: float [N], the losses; those below 0 count as 0.

        Returns:
            float64 [N], which sum to 1; all equal if no loss is above 0.
        """
        losses = values.double().clamp(min=0.0)
        weights = (losses / losses.max().clamp(min=torch.finfo(torch.float64).tiny)).pow(self.power)
        total = weights.sum()
        share = weights / total if bool(total > 0) else torch.ones_like(weights) / self.size
        return (1.0 - self.uniform) * share + self.uniform / self.size

    def order(self, values: Tensor) -> Tensor:
        """N draws."""
        ends = self.probabilities(values).cumsum(0)
        drawn = torch.rand(self.size, generator=self._generator, dtype=torch.float64) * ends[-1]
        return torch.searchsorted(ends, drawn, right=True).clamp(max=self.size - 1)
