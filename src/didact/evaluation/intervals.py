"""A mean with its t interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from didact.errors import DataError, MissingExtraError

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds, with its uncertainty."""

    values: tuple[float, ...]
    """One a seed."""
    mean: float
    sd: float | None
    """The standard deviation over seeds (n - 1 in the denominator); None with one seed."""
    low: float | None
    """The lower end of the 95% t interval of the mean; None with one seed."""
    high: float | None
    """Its upper end."""

    @property
    def half(self) -> float | None:
        """Half of the interval's width, for use after a plus-minus sign; None with one seed."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of independent values with its 95% interval by Student's t distribution, n - 1 degrees of freedom.

    For paired differences this is the paired t interval.

    Args:
        values: at least one, finite.

    Raises:
        DataError: there is none, or one is not finite.
        MissingExtraError: scipy is not installed.
    """
    if not values or not all(map(math.isfinite, values)):
        raise DataError(f"{list(values)} have no mean; give at least one value, and finite ones.")
    n = len(values)
    mean = math.fsum(values) / n
    if n == 1:
        return Estimate(tuple(values), mean, None, None, None)
    sd = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = _t_quantile(n - 1) * sd / math.sqrt(n)
    return Estimate(tuple(values), mean, sd, mean - half, mean + half)


def _t_quantile(freedom: int) -> float:
    """The quantile of the t distribution at (1 + LEVEL) / 2."""
    try:
        from scipy.special import stdtrit
    except ImportError:
        raise MissingExtraError("scipy", "data", "An interval over seeds") from None
    return float(stdtrit(freedom, (1 + LEVEL) / 2))
