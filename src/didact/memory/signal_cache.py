"""A cache of a teacher's signals by example."""

from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor

from didact.documents import State
from didact.errors import DataError
from didact.memory.index import Index
from didact.memory.per_example import PerExample
from didact.types import Signal
from didact.types.algebra import from_tensors, to_tensors


class SignalCache:
    """Signals of a fixed set of examples, by id.

    Lookups do not wait for the device. Ids outside the set are never hit and never stored. The signals are on the
    device of the first one that is put. `Stateful`, so that a resumed run does not query its teacher again.

    Args:
        ids: int64 [N], the examples that can be cached; repeats are allowed.
    """

    def __init__(self, ids: Tensor) -> None:
        self.index = Index(ids.unique())
        self._kind = ""
        self._table: PerExample | None = None

    def __len__(self) -> int:
        """The number of distinct ids that can be cached."""
        return len(self.index)

    @property
    def occupancy(self) -> int:
        """The number of ids with a signal; waits for the device."""
        return 0 if self._table is None else int(self._table.seen.sum())

    def clear(self) -> None:
        """Drop every signal."""
        self._kind, self._table = "", None

    def get(self, ids: Tensor) -> tuple[Tensor, Signal | None]:
        """Look up examples.

        Args:
            ids: int64 [B].

        Returns:
            bool [B], True for those with a signal; and the signal with B rows, zeros for the others, or None while the
            cache is empty. On the cache's device.
        """
        if self._table is None:
            return torch.zeros_like(ids, dtype=torch.bool), None
        table = self._table
        rows = self.index.find(ids.to(table.seen.device))
        found = {name.replace("/", "."): table.get(rows, name) for name in table.columns}
        return table.seen[rows], from_tensors(self._kind, found)

    def put(self, ids: Tensor, signal: Signal) -> None:
        """Store the signals of examples; a later one replaces an earlier one.

        Args:
            ids: int64 [B].
            signal: tensors with B rows, always of the same kind, shapes and dtypes.

        Raises:
            DataError: a signal of another kind, shape or dtype than earlier ones.
            TeacherError: one that consists of more than tensors; see `to_tensors`.
        """
        # Columns have names without dots.
        kind, parts = type(signal).__name__, {n.replace(".", "/"): part for n, part in to_tensors(signal).items()}
        if self._table is None:
            self._kind, self._table = kind, _table(len(self) + 1, parts)
            self.to(next(iter(parts.values())).device)
        self._check(kind, parts, self._table)
        rows = self.index.find(ids.to(self._table.seen.device))
        for name, part in parts.items():
            self._table.put(rows, name, part)
        # The last row is for unknown ids.
        self._table.drop(torch.full_like(rows[:1], len(self)))

    def _check(self, kind: str, parts: Mapping[str, Tensor], table: PerExample) -> None:
        given = {name: (part.dtype, tuple(part.shape[1:])) for name, part in parts.items()}
        kept = {name: table.get_buffer(name) for name in table.columns}
        stored = {name: (column.dtype, tuple(column.shape[1:])) for name, column in kept.items()}
        if kind != self._kind or given != stored:
            raise DataError(
                f"The cache holds {self._kind} with {stored}, but was given {kind} with {given}; "
                "use a cache of its own for each teacher."
            )

    def to(self, device: torch.device | str) -> Self:
        """Move all tensors, in place."""
        self.index.to(device)
        if self._table is not None:
            self._table.to(device)
        return self

    def state_dict(self) -> State:
        """A hash of the ids, the kind of signal, the rows that have one, and the signals."""
        table = None if self._table is None else self._table.state_dict()
        return {"index": self.index.state_dict(), "kind": self._kind, "table": table}

    def load_state_dict(self, state: State, /) -> None:
        """Restore the result of `state_dict`.

        Raises:
            CheckpointError: it belongs to other examples.
        """
        self.index.load_state_dict(state["index"])
        self._kind, self._table = state["kind"], None
        if state["table"] is not None:
            parts = {name: part for name, part in state["table"].items() if name != "seen"}
            self._table = _table(len(self) + 1, parts)
            self._table.load_state_dict(state["table"])
            self.to(self.index.device)


def _table(size: int, parts: Mapping[str, Tensor]) -> PerExample:
    """A table for signals with the shapes and dtypes of these tensors, each [B, ...]."""
    shapes = {name: part.shape[1:] for name, part in parts.items()}
    return PerExample(size, shapes, dtypes={name: part.dtype for name, part in parts.items()})
