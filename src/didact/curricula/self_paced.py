"""Easy examples first, by their loss, and more of them in each pass (Kumar, Packer & Koller 2010)."""

from torch import Tensor

from didact.curricula._latest import LatestValues
from didact.errors import check_range


class SelfPaced(LatestValues):
    """Passes over the examples with the lowest losses, a share of all that grows until it covers everything.

    Departures: the share grows, where the paper changes a threshold of the loss; a loss is the latest that the example
    had in training, where the paper recomputes all of them.

    Args:
        size: the number of examples, N, at least 1.
        seed: of the random orders.
        warmup: initial passes over all examples, at least 1, after which losses should separate easy from hard.
        start: share of the examples in the next pass, in (0, 1].
        growth: factor of the share after each further pass, at least 1; the paper has 1.3.

    Raises:
        ConfigError: a value out of range.
    """

    def __init__(self, size: int, seed: int = 0, *, warmup: int = 1, start: float = 0.5, growth: float = 1.3) -> None:
        check_range("warmup", warmup, at_least=1)
        check_range("start", start, above=0.0, at_most=1.0)
        check_range("growth", growth, at_least=1.0, below=float("inf"))
        super().__init__(size, seed)
        self.warmup, self.start, self.growth = warmup, start, growth

    @property
    def share(self) -> float:
        """The share of the examples in the next pass."""
        if self.passes < self.warmup:
            return 1.0
        # Beyond a thousand passes the power could overflow.
        return min(1.0, self.start * self.growth ** min(self.passes - self.warmup, 1000))

    def order(self, values: Tensor) -> Tensor:
        """The easiest examples, in random order; ties are broken at random."""
        count = max(1, round(self.share * self.size))
        shuffled = self.permutation()
        easiest = values[shuffled].argsort(stable=True)[:count]
        return shuffled[easiest.sort().values]
