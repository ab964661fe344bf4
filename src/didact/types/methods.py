"""A way of teaching: a loss, and what happens around it."""

from collections.abc import Mapping, Set
from typing import Any, Self

import torch
from torch import Tensor, nn

from didact.documents import Document, State, Values
from didact.errors import CheckpointError
from didact.types.batches import Batch
from didact.types.feeds import ExampleFeed, Feed
from didact.types.groups import Group
from didact.types.place import Place
from didact.types.roles import Stateful, Teacher
from didact.types.state import Buffer, parts_of
from didact.types.terms import Terms


class Method:
    """A way of teaching: what the loss on a batch is, and what happens after a step.

    A concrete method takes its `Config` first, then what it needs, by these names: `learner` (the student), `teacher`,
    `sample` (a few training examples, for shapes), `size` (how many there are, for tables with a row an example),
    `spawn` (a function that makes another learner of the same kind, freshly initialised; give it a spec for one of
    another kind) and `seed`. A default of None makes one optional.

    Its attributes are configuration and data that stay as they are, or parts: modules are trained, whatever has a
    `state_dict` is saved in checkpoints, and teachers answer. Parts may lie at any depth in lists and dictionaries. A
    figure that changes during a run is a `Buffer`. `fit` refuses an attribute that is none of these.
    """

    learner: Any
    step: int = 0
    """Optimizer steps done; kept by the loop."""
    fraction: float = 0.0
    """Share of the budget that is used, in [0, 1]; kept by the loop, for whatever is ramped up or switched."""
    place: Place = Place()
    """Which of how many processes that learn together this one is; set by the loop."""
    regrouped: bool = False
    """Whether `changed` was called since the loop last read the groups."""
    feed: Feed = ExampleFeed()
    """What its batches are made of. A method whose options decide on it sets its own in the constructor."""

    def loss(self, batch: Batch) -> Terms:
        """The terms of the loss on a batch."""
        raise NotImplementedError(f"{type(self).__name__} must say what its loss is.")

    def counts(self, batch: Batch) -> Mapping[str, Tensor | float]:
        """What each term will be divided by, known from the batch alone; needed to cut a batch into parts.

        Returns:
            A count for every term that `loss` returns. The default knows none: a method that supports micro-batches
            overrides it.
        """
        return {}

    def collect(self, chosen: Any, actor: Any, /) -> Batch:
        """Make the rows of a round, for a method that is fed rounds.

        Args:
            chosen: what comes next, as the curriculum says: questions, for a `Writer`.
            actor: by whom the rows are made: `didact.rollouts.Writer`, a `Player` or a `Pool`.

        Returns:
            A row a rollout, step or example; see `Batch` for the tensors. What the round decides once, such as
            advantages, is computed here, so that it does not depend on how the round is cut into batches.
        """
        raise NotImplementedError(f"{type(self).__name__} must say how the rows of a round are collected.")

    def after_step(self) -> None:
        """What happens after each optimizer step, such as moving an average."""

    def begin_phase(self, phase: int) -> None:
        """What happens when the data change, before anything begins anew that the source restarts.

        Args:
            phase: the number of the phase that begins, from 1; see `didact.sources.Phases`.
        """

    @property
    def delivered(self) -> Any:
        """The learner that a run keeps, evaluates and exports."""
        return self.learner

    def parts(self) -> Document:
        """Its modules, teachers and whatever else has a state, by place, such as `learner` or `peers.0`."""
        return parts_of(vars(self))

    def modules(self) -> dict[str, nn.Module]:
        """The modules that are trained, by name."""
        return {name: part for name, part in self.parts().items() if isinstance(part, nn.Module)}

    def named_parameters(self) -> dict[str, nn.Parameter]:
        """The parameters that are trained, each once, by place; one that is shared has its first place."""
        seen: dict[nn.Parameter, str] = {}
        for place, module in self.modules().items():
            for name, parameter in module.named_parameters():
                if parameter.requires_grad:
                    seen.setdefault(parameter, f"{place}.{name}")
        return {name: parameter for parameter, name in seen.items()}

    def parameters(self) -> list[nn.Parameter]:
        """The parameters that are trained, each once."""
        return list(self.named_parameters().values())

    def groups(self) -> Mapping[str, Group]:
        """The groups that its parameters are stepped in: each trained parameter in one of them; by default one group.

        A term whose `group` is the name of one sends its gradient there alone.
        """
        return {"all": Group(tuple(self.modules().values()))}

    def changed(self) -> None:
        """Tell the loop that trained parts were added or taken away: it reads the groups again after the step.

        The optimizer keeps the moments of parameters that stay.
        """
        self.regrouped = True

    def grow(self, state: Values) -> None:
        """Make the parts that were added before a checkpoint was written, so that it can be loaded.

        A method that calls `changed` overrides this; the default makes none.

        Args:
            state: what `state_dict` gave then, by place of the parts.
        """

    def teachers(self) -> list[Teacher]:
        """Its teachers: the parts that have a method `signal`."""
        return [part for part in self.parts().values() if callable(getattr(part, "signal", None))]

    def to(self, device: torch.device | str) -> Self:
        """Move every part that can be moved, in place."""
        for part in self.parts().values():
            if callable(getattr(part, "to", None)):
                part.to(device)
        return self

    def state_dict(self) -> State:
        """The state of every part that has one."""
        return {name: part.state_dict() for name, part in self.parts().items() if isinstance(part, Stateful)}

    def load_state_dict(self, state: State, /) -> None:
        """Take back what `state_dict` gave.

        Raises:
            CheckpointError: the state is of other parts.
        """
        self.grow(state)
        parts = {name: part for name, part in self.parts().items() if isinstance(part, Stateful)}
        # What a run began with stands in a buffer already, where its checkpoints are older than the buffer.
        needed = {name for name, part in parts.items() if not isinstance(part, Buffer)}
        if needed - state.keys() or state.keys() - parts.keys():
            raise CheckpointError(_difference(type(self).__name__, needed - state.keys(), state.keys() - parts.keys()))
        for name, kept in state.items():
            parts[name].load_state_dict(kept)


def _difference(method: str, lacking: Set[str], left: Set[str]) -> str:
    """In what a state is not that of a method, as a sentence."""
    words = [f"the method has {', '.join(sorted(lacking))}, of which it holds nothing"] if lacking else []
    words += (
        [f"it holds {', '.join(sorted(left))}, which the method does not have, and does not make in `grow`"]
        if left
        else []
    )
    return f"The state is not that of this {method}: {'; '.join(words)}."
