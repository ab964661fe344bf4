"""What a teacher said about each example, so that it is asked only once."""

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor

from didact.documents import Document, State
from didact.errors import DataError
from didact.memory.index import Index
from didact.memory.per_example import PerExample
from didact.types import Features, Labels, Logits, Signal

_KINDS: dict[str, type[Logits] | type[Labels] | type[Features]] = {
    "Logits": Logits,
    "Labels": Labels,
    "Features": Features,
}


class SignalCache:
    """Signals of a fixed set of examples, by id.

    Lookups wait for no device. Ids outside the set are never hit and never stored. The signals live on the device of
    the first one that is put. `Stateful`, so that a resumed run asks its teacher no question twice; a frozen teacher's
    answers may also be left out of a checkpoint and asked again.

    Args:
        ids: int64 [N], the examples that may be asked for; repeats are allowed.
    """

    def __init__(self, ids: Tensor) -> None:
        self.index = Index(ids.unique())
        self._kind = ""
        self._table: PerExample | None = None

    def __len__(self) -> int:
        """The number of distinct ids that it has room for."""
        return len(self.index)

    @property
    def filled(self) -> int:
        """How many of them have a signal; waits for the device."""
        return 0 if self._table is None else int(self._table.seen.sum())

    def clear(self) -> None:
        """Drop every signal."""
        self._kind, self._table = "", None

    def get(self, ids: Tensor) -> tuple[Tensor, Signal | None]:
        """Look up examples.

        Args:
            ids: int64 [B].

        Returns:
            bool [B], which of them have a signal; and the signal with B rows, zeros where there is none, or None before
            anything was put. On the cache's device.
        """
        if self._table is None:
            return torch.zeros_like(ids, dtype=torch.bool), None
        table = self._table
        rows = self.index.find(ids.to(table.seen.device))
        return table.seen[rows], _assemble(self._kind, {name: table.get(rows, name) for name in table.columns})

    def put(self, ids: Tensor, signal: Signal) -> None:
        """Remember what was said about examples; a later answer replaces an earlier one.

        Args:
            ids: int64 [B].
            signal: `Logits`, `Labels` or `Features` with B rows, always of the same kind, shapes and data types.

        Raises:
            DataError: a signal of another kind, or unlike those that came before.
        """
        kind = type(signal).__name__
        if kind not in _KINDS:
            raise DataError(f"A signal of the kind {kind} cannot be cached; {', '.join(_KINDS)} can be.")
        parts = _flatten(signal)
        if self._table is None:
            self._kind, self._table = kind, _table(len(self) + 1, parts)
            self.to(next(iter(parts.values())).device)
        self._check(kind, parts, self._table)
        rows = self.index.find(ids.to(self._table.seen.device))
        for name, part in parts.items():
            self._table.put(rows, name, part)
        # The last row is that of unknown ids.
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
        """Move everything, in place."""
        self.index.to(device)
        if self._table is not None:
            self._table.to(device)
        return self

    def state_dict(self) -> State:
        """A hash of the ids, the kind of signal, which rows have one, and the signals."""
        table = None if self._table is None else self._table.state_dict()
        return {"index": self.index.state_dict(), "kind": self._kind, "table": table}

    def load_state_dict(self, state: State, /) -> None:
        """Take back what `state_dict` gave.

        Raises:
            CheckpointError: it is of other examples.
        """
        self.index.load_state_dict(state["index"])
        self._kind, self._table = state["kind"], None
        if state["table"] is not None:
            parts = {name: part for name, part in state["table"].items() if name != "seen"}
            self._table = _table(len(self) + 1, parts)
            self._table.load_state_dict(state["table"])
            self.to(self.index.device)


def _table(size: int, parts: Mapping[str, Tensor]) -> PerExample:
    """A table for what looks like these parts, each [B, ...]."""
    shapes = {name: part.shape[1:] for name, part in parts.items()}
    return PerExample(size, shapes, dtypes={name: part.dtype for name, part in parts.items()})


def _flatten(signal: Any) -> dict[str, Tensor]:
    """The tensors of a signal by name; those of a mapping have its name in front. Names have no dots."""
    parts: dict[str, Tensor] = {}
    for name, value in signal.fields().items():
        if isinstance(value, Mapping):
            parts.update({f"{name}/{key.replace('.', '/')}": tensor for key, tensor in value.items()})
        elif value is not None:
            parts[name] = value
    return parts


def _assemble(kind: str, parts: Mapping[str, Tensor]) -> Signal:
    """The signal that `_flatten` took apart."""
    fields: Document = {name: tensor for name, tensor in parts.items() if "/" not in name}
    if kind == "Features":
        taps = {name.split("/", 1)[1]: tensor for name, tensor in parts.items() if "/" in name}
        fields["features"] = {name.replace("/", "."): tensor for name, tensor in taps.items()}
    return _KINDS[kind](**fields)
