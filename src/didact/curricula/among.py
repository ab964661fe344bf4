"""Passes over some of the examples, such as those that a method has chosen."""

import torch
from torch import Tensor

from didact.documents import State
from didact.errors import CheckpointError, check_range


class Among:
    """Epochs over a part of the examples, without replacement; the part may become another.

    What is left at the end of a pass is left out where it is too little for a batch, so that every batch is as large as
    the first. `Stateful`.

    Args:
        size: the number of all examples, N, at least 1; at first the part is all of them.
        seed: of the random orders.

    Raises:
        ConfigError: a size below 1.
    """

    uses_feedback = False

    def __init__(self, size: int, seed: int = 0) -> None:
        check_range("size", size, at_least=1)
        self.size = size
        self._generator = torch.Generator().manual_seed(seed)
        self.only(torch.arange(size))

    def only(self, rows: Tensor) -> None:
        """From now on, pass over these alone.

        Args:
            rows: int64 [K], positions, each once; at least one.

        Raises:
            ConfigError: there is none.
        """
        check_range("The number of rows to learn from", len(rows), at_least=1)
        self.rows = rows
        """int64 [K], the positions that are passed over."""
        self._shuffle()

    def _shuffle(self) -> None:
        self._order = self.rows[torch.randperm(len(self.rows), generator=self._generator)]
        self._position = 0

    def sample(self, count: int) -> Tensor:
        """The next positions of the present pass.

        Args:
            count: the number of positions, at least 1.

        Returns:
            int64 [count], or [K] where the part has fewer; distinct.
        """
        if self._position + min(count, len(self.rows)) > len(self.rows):
            self._shuffle()
        start = self._position
        self._position = start + count
        return self._order[start : self._position]

    def update(self, index: Tensor, progress: Tensor) -> None:
        """Do nothing: the choice does not depend on losses."""

    def state_dict(self) -> State:
        """The generator's state (uint8), the part, the order and position of the present pass, and N."""
        return {
            "generator": self._generator.get_state(),
            "rows": self.rows,
            "order": self._order,
            "position": self._position,
            "size": self.size,
        }

    def load_state_dict(self, state: State, /) -> None:
        """Restore the result of `state_dict`.

        Raises:
            CheckpointError: the state has another number of examples.
        """
        if state["size"] != self.size:
            raise CheckpointError(
                f"The saved curriculum chooses among {state['size']} examples, but the data have {self.size}; resume "
                "with the data that the run began with."
            )
        self._generator.set_state(state["generator"])
        self.rows, self._order, self._position = state["rows"], state["order"], int(state["position"])
