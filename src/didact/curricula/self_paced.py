"""Easy examples first, by their loss, and more of them in each pass (Kumar, Packer & Koller 2010)."""

from torch import Tensor

from didact.curricula._latest import LatestValues
from didact.errors import check_range


class SelfPaced(LatestValues):
    """Passes over the examples whose loss is lowest, a share of all that grows until it has everything.

    Departures: the share grows, where the paper lowers a threshold of the loss by as much; a loss is the one that an
    example had when it last came, where the paper computes all of them anew.

    Args:
        size: the number of examples, N, at least 1.
        seed: the only source of randomness.
        warmup: passes over everything that come first, at least 1; after them the student should tell easy from hard.
        start: share of the examples in the pass that follows, in (0, 1].
        growth: what the share is multiplied by after each further pass, at least 1; the paper's 1.3.

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
        """The share of the examples that the next pass has."""
        if self.passes < self.warmup:
            return 1.0
        # Beyond a thousand passes the power could overflow.
        return min(1.0, self.start * self.growth ** min(self.passes - self.warmup, 1000))

    def order(self, values: Tensor) -> Tensor:
        """The easiest examples, in random order; chance decides between equals."""
        count = max(1, round(self.share * self.size))
        shuffled = self.permutation()
        easiest = values[shuffled].argsort(stable=True)[:count]
        return shuffled[easiest.sort().values]
