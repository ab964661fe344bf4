"""A teacher with a cache of its signals."""

from collections.abc import Iterable
from typing import Any, Self

import torch
from torch import Tensor

from didact.documents import State
from didact.errors import ConfigError
from didact.teachers.base import WrappingTeacher, ask
from didact.types import Batch, Pending, Signal, Stateful
from didact.types.algebra import from_tensors, to_tensors


class CachedTeacher(WrappingTeacher):
    """Queries a teacher only on examples that are not in the cache; saved calls are not charged.

    Signals are cached by the example's id, so they must depend on the example alone. A teacher of an augmented view,
    whose inputs differ every epoch, is refused, and so is one that changes during training; a source whose plain inputs
    are augmented must not be used with a cache.

    Args:
        teacher: a frozen one.
        cache: `get(ids) -> (hit bool [B], Signal | None)`, whose signal has B rows where all are hits, and
            `put(ids, signal)`.
        view: name of the view of the batch that is passed on, where the batch has it (such as another tokenizer's).
        augmented: names of the views with random augmentation.

    Raises:
        ConfigError: the teacher reads an augmented view, or changes during training.
    """

    kind = "a cached teacher"
    saves = True
    """Whether calls stop once every example is cached, so that a budget of calls may never end a run."""

    def __init__(
        self,
        teacher: Any,
        cache: Any,
        *,
        view: str | None = None,
        augmented: Iterable[str] = ("weak", "strong"),
    ) -> None:
        super().__init__(teacher, view=view)
        names = set(augmented)
        for looked_at in (view, getattr(teacher, "view", None)):
            if looked_at in names:
                raise ConfigError(
                    f"view is {looked_at!r}, which is augmented anew each time, so that its signals can't be cached. "
                    "Let the teacher look at the plain inputs, or leave out the cache."
                )
        if not getattr(teacher, "frozen", True):
            raise ConfigError(
                f"teacher is a {type(teacher).__name__}, which changes while teaching, so that its signals can't be "
                "cached. Cache a frozen teacher, or leave out the cache."
            )
        self.cache = cache
        self.hits = 0
        """The number of examples that were served from the cache."""

    def to(self, device: torch.device | str) -> Self:
        """Move the teacher and the cache in place, if they can be moved."""
        if callable(getattr(self.cache, "to", None)):
            self.cache.to(device)
        return super().to(device)

    def ask(self, batch: Batch) -> Pending:
        """Request the teacher's signal for the examples that are not in the cache."""
        hit, signal = self.cache.get(batch["id"])
        missing = (~hit).nonzero()[:, 0]
        self.hits += batch.size - missing.numel()
        if signal is not None and not missing.numel():
            return Pending(lambda: signal)
        asked = self._look(batch).select(missing.to(batch["id"].device))
        return ask(self.teacher, asked).then(lambda fresh: self._store(batch["id"], missing, fresh))

    @torch.no_grad()
    def _store(self, ids: Tensor, missing: Tensor, fresh: Signal) -> Signal:
        """Put the new rows into the cache, and return the whole signal."""
        self.cache.put(ids[missing.to(ids.device)], fresh)
        # Read back rather than merged, so that a cache that rounds gives the same signal the first time as later.
        kept, signal = self.cache.get(ids)
        return signal if signal is not None and bool(kept.all()) else _merged(signal, missing, fresh)

    def forget(self) -> None:
        """Clear the cache."""
        self.cache.clear()
        self.hits = 0

    def state_dict(self) -> State:
        """The states of the teacher and of the cache, if they have one, and the number of hits."""
        kept = {"cache": self.cache.state_dict()} if isinstance(self.cache, Stateful) else {}
        return {**super().state_dict(), **kept, "hits": self.hits}

    def load_state_dict(self, state: State, /) -> None:
        """Restore the result of `state_dict`."""
        super().load_state_dict(state)
        if isinstance(self.cache, Stateful):
            self.cache.load_state_dict(state["cache"])
        self.hits = int(state["hits"])


def _merged(signal: Signal | None, missing: Tensor, fresh: Signal) -> Signal:
    """Insert fresh rows into a cached signal at the positions `missing`, for ids that the cache does not keep."""
    if signal is None:
        return fresh
    new = to_tensors(fresh)
    whole = {name: kept.index_copy(0, missing, new[name].to(kept.device)) for name, kept in to_tensors(signal).items()}
    return from_tensors(type(signal).__name__, whole)
