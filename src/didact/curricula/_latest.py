"""The base class of curricula that choose by the latest loss of each example."""

import torch
from torch import Tensor

from didact.documents import State
from didact.errors import CheckpointError, ConfigError, check_range


class LatestValues:
    """Abstract: passes whose order depends on the latest value of each example, such as its loss.

    The first pass covers all examples in random order, since no values are known yet. Values stay on their device until
    the next order is computed or a checkpoint is written. `Stateful`.

    Args:
        size: the number of examples, N, at least 1.
        seed: of the random order.

    Raises:
        ConfigError: a size below 1.
    """

    uses_feedback = True

    def __init__(self, size: int, seed: int) -> None:
        check_range("size", size, at_least=1)
        self.size = size
        self.passes = 0
        """The number of orders so far."""
        self._generator = torch.Generator().manual_seed(seed)
        self._values = torch.full((size,), torch.nan)
        self._waiting: list[tuple[Tensor, Tensor]] = []
        self._order = torch.arange(0)
        self._position = 0

    def order(self, values: Tensor) -> Tensor:
        """The positions of the next pass, int64 [any number], by the latest values (float32 [N], none missing)."""
        raise NotImplementedError(f"{type(self).__name__} must implement `order`, the positions of the next pass.")

    def permutation(self) -> Tensor:
        """All positions in random order, int64 [N]."""
        return torch.randperm(self.size, generator=self._generator)

    def sample(self, count: int) -> Tensor:
        """The next positions of the present pass.

        Args:
            count: the number of positions, at least 1.

        Returns:
            int64 [count], or fewer at the end of a pass.

        Raises:
            ConfigError: the first pass is over, and no example has a value.
        """
        if self._position >= len(self._order):
            self._order = self.order(self.known()) if self.passes else self.permutation()
            self._position, self.passes = 0, self.passes + 1
        start = self._position
        self._position = start + count
        return self._order[start : self._position]

    def known(self) -> Tensor:
        """The latest values, with the mean of all for examples without one."""
        self._take()
        missing = self._values.isnan()
        if bool(missing.all()):
            raise ConfigError(
                f"The curriculum is {type(self).__name__}, which chooses by the losses of examples, but it has "
                "none; use it where the loss has a value for each example, or use Uniform."
            )
        return torch.where(missing, self._values.nanmean(), self._values)

    def _take(self) -> None:
        """Move new values to the CPU; of several values of an example, the latest counts."""
        if not self._waiting:
            return
        index, values = (torch.cat(column).cpu() for column in zip(*self._waiting, strict=True))
        self._waiting = []
        said = ~values.isnan()
        index, values = index[said], values[said].float()
        latest = torch.full((self.size,), -1).scatter_reduce_(0, index, torch.arange(len(index)), "amax")
        told = latest >= 0
        self._values[told] = values[latest[told]]

    def update(self, index: Tensor, progress: Tensor) -> None:
        """Record the losses of examples, without waiting for the device.

        Args:
            index: int64 [K], their positions.
            progress: float [K], their losses; NaN is ignored.
        """
        self._waiting.append((index, progress.detach()))

    def state_dict(self) -> State:
        """The generator's state (uint8), the values, and the order and position of the present pass."""
        self._take()
        return {
            "generator": self._generator.get_state(),
            "values": self._values.clone(),
            "order": self._order,
            "position": self._position,
            "passes": self.passes,
        }

    def load_state_dict(self, state: State, /) -> None:
        """Restore the result of `state_dict`.

        Raises:
            CheckpointError: the state has another number of examples.
        """
        if len(state["values"]) != self.size:
            raise CheckpointError(
                f"The saved curriculum goes over {len(state['values'])} examples, but the data have {self.size}; "
                "resume with the data that the run began with."
            )
        self._generator.set_state(state["generator"])
        self._values, self._waiting = state["values"].clone(), []
        self._order, self._position, self.passes = state["order"], int(state["position"]), int(state["passes"])
