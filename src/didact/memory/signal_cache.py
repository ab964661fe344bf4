"""What a teacher said about each example, so that it is asked only once."""

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor

from didact.errors import DataError
from didact.types import Features, Labels, Logits, Signal

_KINDS: dict[str, type[Logits] | type[Labels] | type[Features]] = {
    "Logits": Logits,
    "Labels": Labels,
    "Features": Features,
}


class SignalCache:
    """Signals of a fixed set of examples, by id, in tensors with a row an example.

    Lookups are vectorised (a binary search in the sorted ids) and wait for no device. Ids outside the set are never hit
    and never stored. The signals live on the device of the first one that is put. `Stateful`, so that a resumed run
    asks its teacher no question twice; a frozen teacher's answers may also be left out of a checkpoint and asked again.

    Args:
        ids: int64 [N], the examples that may be asked for; repeats are allowed.
    """

    def __init__(self, ids: Tensor) -> None:
        self._ids = ids.unique()
        self._filled = torch.zeros(len(self._ids) + 1, dtype=torch.bool, device=ids.device)
        self._kind = ""
        self._store: dict[str, Tensor] = {}

    def __len__(self) -> int:
        """The number of distinct ids that it has room for."""
        return len(self._ids)

    @property
    def filled(self) -> int:
        """How many of them have a signal; waits for the device."""
        return int(self._filled.sum())

    def _rows(self, ids: Tensor) -> Tensor:
        """The row of each id; the spare last row for an unknown one."""
        if not len(self._ids):
            return torch.zeros_like(ids)
        rows = torch.searchsorted(self._ids, ids).clamp_(max=len(self._ids) - 1)
        return torch.where(self._ids[rows] == ids, rows, len(self._ids))

    def get(self, ids: Tensor) -> tuple[Tensor, Signal | None]:
        """Look up examples.

        Args:
            ids: int64 [B].

        Returns:
            bool [B], which of them have a signal; and the signal with B rows, zeros where there is none, or None before
            anything was put. On the cache's device.
        """
        rows = self._rows(ids.to(self._ids.device))
        hit = self._filled[rows]
        if not self._kind:
            return hit, None
        return hit, _assemble(self._kind, {name: t.index_select(0, rows) for name, t in self._store.items()})

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
        parts = {name: part.detach() for name, part in _flatten(signal).items()}
        if not self._kind:
            self._allocate(kind, parts)
        self._check(kind, parts)
        rows = self._rows(ids.to(self._ids.device))
        for name, part in parts.items():
            self._store[name].index_copy_(0, rows, part.to(self._ids.device))
            self._store[name][-1:] = 0
        self._filled.index_fill_(0, rows, True)
        self._filled[-1:] = False

    def _allocate(self, kind: str, parts: Mapping[str, Tensor]) -> None:
        device = next(iter(parts.values())).device
        self.to(device)
        self._kind = kind
        with torch.inference_mode(False):  # else it could be written only where the teacher answers, not on resuming
            self._store = {n: p.new_zeros((len(self) + 1, *p.shape[1:])) for n, p in parts.items()}

    def _check(self, kind: str, parts: Mapping[str, Tensor]) -> None:
        given = {name: (part.dtype, tuple(part.shape[1:])) for name, part in parts.items()}
        stored = {name: (part.dtype, tuple(part.shape[1:])) for name, part in self._store.items()}
        if kind != self._kind or given != stored:
            raise DataError(
                f"The cache holds {self._kind} with {stored}, but was given {kind} with {given}; "
                "use a cache of its own for each teacher."
            )

    def to(self, device: torch.device | str) -> Self:
        """Move everything, in place."""
        self._ids, self._filled = self._ids.to(device), self._filled.to(device)
        self._store = {name: tensor.to(device) for name, tensor in self._store.items()}
        return self

    def state_dict(self) -> dict[str, Any]:
        """The ids, which of them are filled, and the signals."""
        return {"ids": self._ids, "filled": self._filled, "kind": self._kind, "store": dict(self._store)}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Take back what `state_dict` gave; the ids become those of the state."""
        device = self._ids.device
        self._ids, self._filled = state["ids"].to(device), state["filled"].to(device)
        self._kind = state["kind"]
        self._store = {name: tensor.to(device) for name, tensor in state["store"].items()}


def _flatten(signal: Any) -> dict[str, Tensor]:
    """The tensors of a signal by name; those of a mapping have its name in front."""
    parts: dict[str, Tensor] = {}
    for name in type(signal).__slots__:
        value = getattr(signal, name)
        if isinstance(value, Mapping):
            parts.update({f"{name}.{key}": tensor for key, tensor in value.items()})
        elif value is not None:
            parts[name] = value
    return parts


def _assemble(kind: str, parts: Mapping[str, Tensor]) -> Signal:
    """The signal that `_flatten` took apart."""
    fields: dict[str, Any] = {name: tensor for name, tensor in parts.items() if "." not in name}
    if kind == "Features":
        fields["features"] = {n.removeprefix("features."): t for n, t in parts.items() if n.startswith("features.")}
    return _KINDS[kind](**fields)
