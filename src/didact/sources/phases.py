"""Data that change at boundaries: tasks one after the other, generations, stages of a curriculum."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from didact.documents import State
from didact.errors import CheckpointError, ConfigError, check_choice, check_range
from didact.types import RESTARTS, Batch, FeedbackSource, Restart, Source, Stateful


class Phases:
    """Several sources, one after the other; the last goes on without end.

    Before the first batch of each phase but the first, the loop calls the method's `begin_phase` and lets begin anew
    what `restart` says. Batches have `task_id` besides, int64 [B], the number of their phase. Their `row` is the
    position among the examples of all phases, which sources of the same examples in the same order share. `Stateful`,
    so that a run can be resumed within a phase.

    Args:
        sources: those of the phases, in order; each `Stateful`.
        steps: batches in each phase, one number for all or one for each but the last.
        epochs: passes in each phase over its own data, in place of `steps`; the last batch of a phase may go beyond.
        restart: what begins anew at each boundary; see `didact.types.Restart`.

    Raises:
        ConfigError: fewer than two sources, one without state or, for epochs, without an end; not exactly one of steps
            and epochs; or a number out of range.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        steps: int | Sequence[int] | None = None,
        epochs: float | None = None,
        restart: Restart = "no",
    ) -> None:
        check_choice("restart", restart, RESTARTS)
        self.sources, self.restart = tuple(sources), restart
        _check_sources(self.sources)
        self.limits = _limits(self.sources, steps, epochs)
        """How many batches each phase but the last has or, where phases are in epochs, how many examples."""
        self.counted = "batches" if epochs is None else "examples"
        self.epoch_size = sum(source.epoch_size for source in self.sources)
        self.phase = 0
        """The number of the present phase, from 0."""
        self.boundary = False
        """Whether the batch given last is the first of a phase other than the first."""
        self._given = 0
        self._offsets = _offsets(self.sources)
        self.label_count = _label_count(self.sources)
        self.charges = frozenset[str]().union(*(getattr(source, "charges", ()) for source in self.sources))
        self.spenders = {str(number): source for number, source in enumerate(self.sources)}
        """The sources by number; see `didact.types.Spender`."""

    @property
    def uses_feedback(self) -> bool:
        """Whether the present phase's source takes note of how its examples went."""
        source = self.sources[self.phase]
        return isinstance(source, FeedbackSource) and source.uses_feedback

    def feedback(self, batch: Batch, rows: Mapping[str, Tensor]) -> None:
        """Tell the source of the batch given last how its examples went; see `didact.types.FeedbackSource`."""
        source = self.sources[self.phase]
        assert isinstance(source, FeedbackSource)
        source.feedback(Batch({**batch, "row": batch["row"] - self._offsets[self.phase]}), rows)

    def __iter__(self) -> Iterator[Batch]:
        """Go on from the present state, without end."""
        while True:
            batches = iter(self.sources[self.phase])
            while not self._is_over():
                batch = next(batches)
                self.boundary = self.phase > 0 and self._given == 0
                self._given += 1 if self.counted == "batches" else batch.size
                yield self._placed(batch)
            self.phase, self._given = self.phase + 1, 0

    def _is_over(self) -> bool:
        return self.phase < len(self.limits) and self._given >= self.limits[self.phase]

    def _placed(self, batch: Batch) -> Batch:
        """A batch with its phase, and its rows among those of all phases."""
        tensors = {**batch, "task_id": torch.full((batch.size,), self.phase)}
        offset = self._offsets[self.phase]
        if offset and "row" in batch:
            tensors["row"] = batch["row"] + offset
        return Batch(tensors)

    def state_dict(self) -> State:
        """The phase, how much of it was given, and the state of every source."""
        states = [dict(source.state_dict()) for source in self.sources if isinstance(source, Stateful)]
        return {"phase": self.phase, "given": self._given, "limits": list(self.limits), "sources": states}

    def load_state_dict(self, state: State, /) -> None:
        """Take back what `state_dict` gave.

        Raises:
            CheckpointError: it is of other phases.
        """
        if len(state["sources"]) != len(self.sources) or list(state["limits"]) != list(self.limits):
            raise CheckpointError(
                f"The saved run has {len(state['sources'])} phases of {state['limits']} {self.counted}, but there are "
                f"{len(self.sources)} of {list(self.limits)} here; resume with those that the run began with."
            )
        self.phase, self._given = int(state["phase"]), int(state["given"])
        for source, kept in zip(self.sources, state["sources"], strict=True):
            assert isinstance(source, Stateful)
            source.load_state_dict(kept)


def _check_sources(sources: Sequence[Source]) -> None:
    if len(sources) < 2:
        raise ConfigError(f"sources has {len(sources)} of them, but phases need at least 2; use the source itself.")
    for source in sources:
        if not isinstance(source, Stateful):
            raise ConfigError(
                f"sources has a {type(source).__name__}, which has no state_dict, so that a run could not be resumed; "
                "give it state_dict and load_state_dict."
            )


def _limits(sources: Sequence[Source], steps: int | Sequence[int] | None, epochs: float | None) -> tuple[int, ...]:
    """How long each phase but the last is, in batches or in examples."""
    if (steps is None) == (epochs is None):
        raise ConfigError(f"steps is {steps} and epochs is {epochs}, but phases end by one of them; give one.")
    if epochs is not None:
        check_range("epochs", epochs, above=0.0, below=math.inf)
        endless = [type(source).__name__ for source in sources[:-1] if not source.epoch_size]
        if endless:
            raise ConfigError(f"epochs is {epochs}, but a {endless[0]} has no passes to count; give steps instead.")
        return tuple(math.ceil(epochs * source.epoch_size) for source in sources[:-1])
    limits = (steps,) * (len(sources) - 1) if isinstance(steps, int) else tuple(steps or ())
    if len(limits) != len(sources) - 1:
        raise ConfigError(
            f"steps is {steps}, but there are {len(sources)} phases, of which the last has no end; give one number, or "
            f"{len(sources) - 1}."
        )
    for limit in limits:
        check_range("steps", limit, at_least=1)
    return limits


def _label_count(sources: Sequence[Source]) -> float:
    """How many labels they have at most; those of the same examples have the same ones."""
    counts = {
        getattr(one, "fingerprint", str(i)): getattr(one, "label_count", math.inf) for i, one in enumerate(sources)
    }
    return sum(counts.values())


def _offsets(sources: Sequence[Source]) -> list[int]:
    """Where the rows of each source begin; those of the same examples in the same order begin at the same place."""
    known: dict[Any, int] = {}
    found, end = [], 0
    for source in sources:
        key = getattr(source, "fingerprint", None)
        if key is None or key not in known:
            known[key], end = end, end + source.epoch_size
        found.append(known[key])
    return found
