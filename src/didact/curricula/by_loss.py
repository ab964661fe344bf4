"""Hard examples more often, in proportion to their loss (as replay is prioritised in Schaul et al. 2016)."""

import torch
from torch import Tensor

from didact.curricula._latest import LatestValues
from didact.errors import check_range


class ByLoss(LatestValues):
    """Draws with replacement, with chances that are made anew after every N draws; the first pass goes over everything.

    An example's chance is that of proportional prioritisation (section 3.3), with its loss in the place of the temporal
    difference error, and a share of draws in the place of a constant added to it. Departure: nothing is divided by the
    chance afterwards, as hard examples are meant to weigh more.

    Args:
        size: the number of examples, N, at least 1.
        seed: the only source of randomness.
        power: of the loss, at least 0; 0 makes all examples equally likely.
        uniform: share of the draws that go to all examples alike, in [0, 1], so that none is left for ever.

    Raises:
        ConfigError: a value out of range.
    """

    def __init__(self, size: int, seed: int = 0, *, power: float = 1.0, uniform: float = 0.1) -> None:
        check_range("power", power, at_least=0.0, below=float("inf"))
        check_range("uniform", uniform, at_least=0.0, at_most=1.0)
        super().__init__(size, seed)
        self.power, self.uniform = power, uniform

    def probabilities(self, values: Tensor) -> Tensor:
        """How likely each example is to be drawn.

        Args:
            values: float [N], the losses; those below 0 count as 0.

        Returns:
            float64 [N], with the sum 1; all equal where no loss is above 0.
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
