"""Running means of quantities whose size ranges so widely that their logarithms are kept."""

from collections.abc import Mapping

import torch
from torch import Tensor


class LogMeans:
    """The logarithm of the mean of what was seen of each of many keys; `Stateful`.

    Args:
        keys: int64 [N], all different, such as the ids of questions.
    """

    def __init__(self, keys: Tensor) -> None:
        self.keys = keys.sort().values
        self.log_mean = torch.full((len(keys),), -torch.inf, dtype=torch.float64)
        """[N], in the order of `keys`; -inf where nothing was seen."""
        self.seen = torch.zeros(len(keys), dtype=torch.float64)
        """[N], how many times."""

    def update(self, keys: Tensor, log_value: Tensor) -> Tensor:
        """Take note of what is seen now.

        Args:
            keys: int64 [B], known ones; a key that stands more than once is seen once, with one value.
            log_value: float [B]; -inf is no observation.

        Returns:
            float64 [B], the logarithms of the means, this time included.
        """
        place = torch.searchsorted(self.keys, keys)
        times, before = self.seen[place], self.log_mean[place]
        told = log_value > -torch.inf
        mean = torch.logaddexp(times.log() + before, log_value.double()) - (times + 1.0).log()
        self.log_mean[place] = torch.where(told, mean, before)
        self.seen[place] = times + told
        return self.log_mean[place]

    def state_dict(self) -> dict[str, Tensor]:
        """The means, and how often each was seen."""
        return {"log_mean": self.log_mean.clone(), "seen": self.seen.clone()}

    def load_state_dict(self, state: Mapping[str, Tensor], /) -> None:
        """Take back what `state_dict` gave."""
        self.log_mean, self.seen = state["log_mean"].clone(), state["seen"].clone()
