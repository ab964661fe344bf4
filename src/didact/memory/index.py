"""An index from the ids of examples to rows of a table."""

from typing import Self

import torch
from torch import Tensor

from didact import hashing
from didact.documents import State
from didact.errors import CheckpointError, DataError


class Index:
    """The rows of a fixed set of examples by id: exact, for any ids.

    A lookup is a binary search in the sorted ids, for all examples at once. `Stateful`: the state is a hash of the ids,
    so that a table is not loaded for other examples.

    Args:
        ids: int64 [N], all different; the example `ids[i]` has row i.

    Raises:
        DataError: an id is repeated.
    """

    def __init__(self, ids: Tensor) -> None:
        self._fingerprint = int(hashing.of_bytes([ids.cpu().contiguous().numpy()]))
        self._sorted, self._order = ids.sort(stable=True)
        repeats = (self._sorted[1:] == self._sorted[:-1]).nonzero()[:, 0]
        if len(repeats):
            first, second = self._order[int(repeats[0])], self._order[int(repeats[0]) + 1]
            raise DataError(
                f"The examples in rows {int(first) + 1} and {int(second) + 1} have the same id, {int(ids[first])}, so "
                "that a row cannot be found by id; leave one of them out, or give each an id of its own."
            )

    def __len__(self) -> int:
        """The number of rows, N."""
        return len(self._sorted)

    def find(self, ids: Tensor) -> Tensor:
        """Look up ids that may be unknown, without waiting for the device.

        Args:
            ids: int64, any shape, on the index's device.

        Returns:
            int64, shaped as `ids`: the rows; N for an unknown id.
        """
        if not len(self):
            return torch.zeros_like(ids)
        place = torch.searchsorted(self._sorted, ids).clamp_(max=len(self) - 1)
        return torch.where(self._sorted[place] == ids, self._order[place], len(self))

    def rows(self, ids: Tensor) -> Tensor:
        """Look up ids that must be known. This waits for the device; in a step, use the batch's `row` instead.

        Args:
            ids: int64, any shape, on the index's device.

        Returns:
            int64, shaped as `ids`.

        Raises:
            DataError: an id is unknown.
        """
        rows = self.find(ids)
        unknown = ids[rows == len(self)]
        if len(unknown):
            raise DataError(
                f"The id {int(unknown[0])} (and {len(unknown) - 1} others) is none of the {len(self)} examples that "
                "the index is of; make it from the ids of all the examples that may come."
            )
        return rows

    @property
    def device(self) -> torch.device:
        """The device of the ids."""
        return self._sorted.device

    def to(self, device: torch.device | str) -> Self:
        """Move the ids, in place."""
        self._sorted, self._order = self._sorted.to(device), self._order.to(device)
        return self

    def state_dict(self) -> State:
        """A hash of the ids and their order."""
        return {"ids": self._fingerprint}

    def load_state_dict(self, state: State, /) -> None:
        """Check that the state belongs to the same examples.

        Raises:
            CheckpointError: it is not.
        """
        if state["ids"] != self._fingerprint:
            raise CheckpointError(
                f"What was saved is of other examples than the {len(self)} here, or of the same in another order; "
                "resume with the data that the run began with."
            )
