"""What curricula share that choose by how each example went last."""

import torch
from torch import Tensor

from didact.documents import State
from didact.errors import CheckpointError, ConfigError, check_range


class LatestValues:
    """Abstract: passes whose order is made from the latest value of each example, such as its loss.

    The first pass goes over all examples in random order, since nothing is known yet. Values stay where they are, on
    the device too, until the next order is made or a checkpoint is written. `Stateful`.

    Args:
        size: the number of examples, N, at least 1.
        seed: the only source of randomness.

    Raises:
        ConfigError: a size below 1.
    """

    uses_feedback = True

    def __init__(self, size: int, seed: int) -> None:
        check_range("size", size, at_least=1)
        self.size = size
        self.passes = 0
        """How many orders were made so far."""
        self._generator = torch.Generator().manual_seed(seed)
        self._values = torch.full((size,), torch.nan)
        self._waiting: list[tuple[Tensor, Tensor]] = []
        self._order = torch.arange(0)
        self._position = 0

    def order(self, values: Tensor) -> Tensor:
        """The positions of the next pass, int64 [any number], by the latest values (float32 [N], none missing)."""
        raise NotImplementedError(f"{type(self).__name__} must say in which order examples come.")

    def permutation(self) -> Tensor:
        """All positions in random order, int64 [N]."""
        return torch.randperm(self.size, generator=self._generator)

    def sample(self, count: int) -> Tensor:
        """The next positions of the present pass.

        Args:
            count: how many are wanted, at least 1.

        Returns:
            int64 [count], or fewer at the end of a pass.

        Raises:
            ConfigError: the first pass is over, and nothing was said of any example.
        """
        if self._position >= len(self._order):
            self._order = self.order(self.known()) if self.passes else self.permutation()
            self._position, self.passes = 0, self.passes + 1
        start = self._position
        self._position = start + count
        return self._order[start : self._position]

    def known(self) -> Tensor:
        """The latest values, with the mean of all for examples of which nothing was said."""
        self._take()
        missing = self._values.isnan()
        if bool(missing.all()):
            raise ConfigError(
                f"The curriculum is {type(self).__name__}, which chooses by how examples went, but it was told of "
                "none; use it where the loss has a value for each example, or use Uniform."
            )
        return torch.where(missing, self._values.nanmean(), self._values)

    def _take(self) -> None:
        """Bring what was said to the CPU; of several values of an example the latest counts."""
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
        """Take note of how examples went, without waiting for the device.

        Args:
            index: int64 [K], their positions.
            progress: float [K], their losses; NaN says nothing.
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
        """Take back what `state_dict` gave.

        Raises:
            CheckpointError: the state is of another number of examples.
        """
        if len(state["values"]) != self.size:
            raise CheckpointError(
                f"The saved curriculum goes over {len(state['values'])} examples, but the data have {self.size}; "
                "resume with the data that the run began with."
            )
        self._generator.set_state(state["generator"])
        self._values, self._waiting = state["values"].clone(), []
        self._order, self._position, self.passes = state["order"], int(state["position"]), int(state["passes"])
