"""Every example once per pass, in a new random order each time."""

import torch
from torch import Tensor

from didact.documents import State
from didact.errors import CheckpointError, check_range


class Uniform:
    """Epochs without replacement.

    The last batch of a pass may be smaller, so that no batch mixes two passes. `Stateful`: the state is that of the
    generator before the present order was drawn, and the position in it.

    Args:
        size: the number of examples, N, at least 1.
        seed: of the random orders.

    Raises:
        ConfigError: a size below 1.
    """

    uses_feedback = False

    def __init__(self, size: int, seed: int = 0) -> None:
        check_range("size", size, at_least=1)
        self.size = size
        self._generator = torch.Generator().manual_seed(seed)
        self._shuffle()

    def _shuffle(self) -> None:
        self._drawn_from = self._generator.get_state()
        self._order = torch.randperm(self.size, generator=self._generator)
        self._position = 0

    def sample(self, count: int) -> Tensor:
        """The next positions of the present pass.

        Args:
            count: the number of positions, at least 1.

        Returns:
            int64 [count], or fewer at the end of a pass; distinct within a pass.
        """
        if self._position >= self.size:
            self._shuffle()
        start = self._position
        self._position = start + count
        return self._order[start : self._position]

    def update(self, index: Tensor, progress: Tensor) -> None:
        """Do nothing: the choice does not depend on losses."""

    def state_dict(self) -> State:
        """The generator's state (uint8), the position and the number of examples."""
        return {"generator": self._drawn_from, "position": self._position, "size": self.size}

    def load_state_dict(self, state: State, /) -> None:
        """Restore the result of `state_dict`.

        Raises:
            CheckpointError: the state has another number of examples.
        """
        if state["size"] != self.size:
            raise CheckpointError(
                f"The saved curriculum goes over {state['size']} examples, but the data have {self.size}; "
                "resume with the data that the run began with."
            )
        self._generator.set_state(state["generator"])
        self._shuffle()
        self._position = int(state["position"])
