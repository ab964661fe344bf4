"""Rounds: an actor writes, plays or asks with the student as it is, and the student learns from what came of it."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from didact import hashing
from didact.documents import State
from didact.errors import ConfigError, DataError, check_choice, check_range
from didact.types import RESTARTS, Actor, Batch, Curriculum, Place, Restart, Stateful


class Rounds:
    """An endless stream of batches that are collected round by round.

    At the beginning of a round the curriculum says what comes next, and `collect` has the actor make a batch of it. The
    round is then cut into mini-batches, and passed over once or several times. `Stateful`: the rows of the present
    round and the order of the present pass are part of the state, so that a run that is resumed within a round learns
    from the same rows in the same order.

    Args:
        curriculum: what comes next; None where there is nothing to choose.
        actor: a `Writer`, a `Player`, a `Pool` or the like. Its `round` and `version` are kept up to date; its state is
            saved where it is `Stateful`.
        collect: from what comes next and the actor to a batch of B rows; a method's `collect`.
        size: how much the curriculum is asked for in each round.
        data: what the curriculum's positions stand for. `collect` is given these items, or without data the positions,
            int64 [size].
        epochs: passes over each round. Where there is more than one, each goes over the rows in a random order of its
            own; a single pass keeps the order in which they were collected.
        minibatches: optimizer steps in a pass.
        restart: what begins anew before each round but the first; see `Restart`.
        seed: of the order of rows.
        epoch_size: how many rows make one pass over the data; 0 where passes mean nothing.
        begin: called with what comes next after a round, once the round is collected, for an actor that works ahead.

    Raises:
        ConfigError: an option out of its range, or a curriculum without state.
    """

    def __init__(
        self,
        curriculum: Curriculum | None,
        actor: Actor,
        collect: Callable[[Any, Any], Batch],
        *,
        size: int,
        data: Sequence[Any] | None = None,
        epochs: int = 1,
        minibatches: int = 1,
        restart: Restart = "no",
        seed: int = 0,
        epoch_size: int = 0,
        begin: Callable[[Any], object] | None = None,
    ) -> None:
        for name, value in (("size", size), ("epochs", epochs), ("minibatches", minibatches)):
            check_range(name, value, at_least=1)
        check_choice("restart", restart, RESTARTS)
        if curriculum is not None and not isinstance(curriculum, Stateful):
            raise ConfigError(
                f"curriculum is a {type(curriculum).__name__}, which has no state_dict, so that a run could not be "
                "resumed; give it state_dict and load_state_dict."
            )
        self.curriculum, self.actor, self.collect, self.data = curriculum, actor, collect, data
        self.size, self.epochs, self.minibatches, self.restart = size, epochs, minibatches, restart
        self.epoch_size, self.begin = epoch_size, begin
        self._next: torch.Tensor | None = None
        self.spenders = {type(actor).__name__.lower(): actor}
        """The actor by its kind; see `didact.types.Spender`."""
        self.boundary = False
        """Whether the batch given last is the first of a round other than the first."""
        self.round = self.version = 0
        self.place = Place()
        """Which of how many processes this is; the actor is told, and every process has all rows."""
        self._rows: Batch | None = None
        self._order = torch.arange(0)
        self._epoch = self._position = 0
        self._generator = torch.Generator().manual_seed(int(hashing.keyed_hash(torch.tensor(0), seed, "rounds")))

    def __iter__(self) -> Iterator[Batch]:
        """Go on from the present state, without end."""
        while True:
            begins = self._rows is None
            rows = self._collect() if self._rows is None else self._rows
            self.boundary = begins and self.version > 0
            batch = self._next_minibatch(rows)
            self._count(self.round, self.version + 1)
            yield batch

    def _collect(self) -> Batch:
        """Have the actor make the rows of the next round."""
        chosen = self._items(self._sampled() if self._next is None else self._next)
        self._count(self.round, self.version)
        self.actor.place = self.place
        rows = self.collect(chosen, self.actor).check()
        if not rows.size:
            raise DataError(
                f"Round {self.round} has no rows to learn from; collect must return one at least, such as a row whose "
                "weight is 0."
            )
        self._count(self.round + 1, self.version)
        self._rows, self._epoch = rows, 0
        self._begin_pass(rows)
        if self.begin is not None:
            self._next = self._sampled()
            self.begin(self._items(self._next))
        return rows

    def _sampled(self) -> torch.Tensor:
        return torch.arange(0) if self.curriculum is None else self.curriculum.sample(self.size)

    def _items(self, index: torch.Tensor) -> Any:
        return index if self.data is None else [self.data[i] for i in index.tolist()]

    def _begin_pass(self, rows: Batch) -> None:
        self._position = 0
        shuffled = self.epochs > 1
        self._order = torch.randperm(rows.size, generator=self._generator) if shuffled else torch.arange(rows.size)

    def _next_minibatch(self, rows: Batch) -> Batch:
        """The next rows of the present pass; after the last of all passes the round is over."""
        end = self._position + -(-rows.size // self.minibatches)
        batch = rows.select(self._order[self._position : end])
        self._position = end
        if end >= rows.size:
            self._epoch += 1
            if self._epoch == self.epochs:
                self._rows, self._order = None, torch.arange(0)
            else:
                self._begin_pass(rows)
        return batch

    def _count(self, round_: int, version: int) -> None:
        self.round = self.actor.round = round_
        self.version = self.actor.version = version

    def state_dict(self) -> State:
        """The state of curriculum and actor, the counters, and what is left of the present round."""
        return {
            "curriculum": _state_of(self.curriculum),
            "actor": _state_of(self.actor),
            "round": self.round,
            "version": self.version,
            "rows": None if self._rows is None else dict(self._rows),
            "order": self._order,
            "epoch": self._epoch,
            "position": self._position,
            "generator": self._generator.get_state(),
            "next": self._next,
        }

    def load_state_dict(self, state: State, /) -> None:
        """Take back what `state_dict` gave."""
        for part, name in ((self.curriculum, "curriculum"), (self.actor, "actor")):
            if isinstance(part, Stateful):
                part.load_state_dict(state[name])
        self._count(state["round"], state["version"])
        self._rows = None if state["rows"] is None else Batch(state["rows"])
        self._next = state["next"]
        self._order, self._epoch, self._position = state["order"], state["epoch"], state["position"]
        self._generator.set_state(state["generator"])


def _state_of(part: object) -> Any:
    return dict(part.state_dict()) if isinstance(part, Stateful) else None
