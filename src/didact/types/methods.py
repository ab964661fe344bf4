"""The base class of methods."""

from collections.abc import Mapping, Set
from typing import Any, Self

import torch
from torch import Tensor, nn

from didact.documents import Document, State, Values
from didact.errors import CheckpointError
from didact.types.batches import Batch
from didact.types.feeds import ExampleFeed, Feed
from didact.types.frozen import load_module_state, module_state
from didact.types.groups import Group
from didact.types.place import Place
from didact.types.roles import Stateful, Teacher
from didact.types.state import Buffer, parts_of
from didact.types.terms import Terms


class Method:
    """A way of teaching: the loss of a batch, and hooks around a step.

    The constructor of a concrete method takes its `Config` first, then what it needs, by these names: `learner` (the
    student), `teacher`, `sample` (a few training examples, for shapes), `examples` (all of them), `size` (their number,
    for tables with one row per example), `spawn` (a function that builds another learner of the same kind, freshly
    initialised, or one of another kind from a spec) and `seed`. A default of None makes one optional.

    Its attributes are constant configuration and data, or parts: modules are trained, whatever has a `state_dict` is
    saved in checkpoints, and teachers give signals. Parts may be nested in lists and dictionaries at any depth. A value
    that changes during a run is a `Buffer`. `fit` refuses an attribute that is none of these.
    """

    learner: Any
    step: int = 0
    """Optimizer steps done; kept by the loop."""
    fraction: float = 0.0
    """Share of the budget that is used, in [0, 1]; kept by the loop, for ramps and schedules."""
    place: Place = Place()
    """The device, and the rank of this process; set by the loop."""
    regrouped: bool = False
    """Whether `changed` was called since the loop last read the groups."""
    feed: Feed = ExampleFeed()
    """The batches that it learns from. A method whose feed depends on its options sets it in the constructor."""

    def loss(self, batch: Batch) -> Terms:
        """The terms of the loss on a batch."""
        raise NotImplementedError(f"{type(self).__name__} must say what its loss is: implement `loss`.")

    def counts(self, batch: Batch) -> Mapping[str, Tensor | float]:
        """The count of each term, from the batch alone; needed to split a batch into micro-batches.

        Returns:
            A count for every term that `loss` returns. The default has none: a method that supports micro-batches
            overrides it.
        """
        return {}

    def collect(self, chosen: Any, actor: Any, /) -> Batch:
        """Make the rows of a round, for a method that is fed rounds.

        Args:
            chosen: what the curriculum chose: questions, for a `Writer`.
            actor: the actor that makes the rows: a `didact.rollouts.Writer`, a `Player` or a `Pool`.

        Returns:
            One row per rollout, step or example; see `Batch` for the tensors. Quantities of the whole round, such as
            advantages, are computed here, so that they do not depend on how the round is split into batches.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `collect`, which makes the rows of a round.")

    def own_labels(self, batch: Batch) -> tuple[Tensor, Tensor] | None:
        """What it would teach itself of a batch, for monitors of pseudo-labels.

        Returns:
            The classes, int64 [B], and their weights, float [B] in [0, 1]; None for a method without pseudo-labels.
        """
        return None

    def after_step(self) -> None:
        """Hook after each optimizer step, for instance to update an average."""

    def begin_phase(self, phase: int) -> None:
        """Hook at a boundary of the data, before the source's `restart` takes effect.

        Args:
            phase: the number of the new phase, from 1; see `didact.sources.Phases`.
        """

    @property
    def delivered(self) -> Any:
        """The learner that a run evaluates, saves and exports."""
        return self.learner

    def parts(self) -> Document:
        """Its modules, teachers and other stateful parts, by place, such as `learner` or `peers.0`."""
        return parts_of(vars(self))

    def modules(self) -> dict[str, nn.Module]:
        """The modules that are trained, by name."""
        return {name: part for name, part in self.parts().items() if isinstance(part, nn.Module)}

    def named_parameters(self) -> dict[str, nn.Parameter]:
        """The parameters that are trained, each once, by place; a shared one appears under its first place."""
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
        """The parameter groups: each trained parameter is in exactly one; by default there is one group.

        A term with a `group` sends its gradient to that group alone.
        """
        return {"all": Group(tuple(self.modules().values()))}

    def changed(self) -> None:
        """Tell the loop that trained parts were added or removed: it reads the groups again after the step.

        The optimizer keeps the moments of parameters that stay.
        """
        self.regrouped = True

    def grow(self, state: Values) -> None:
        """Build the parts that were added before a checkpoint was written, so that it can be loaded.

        A method that calls `changed` overrides this; the default builds none.

        Args:
            state: the result of `state_dict` in that checkpoint, by place of the parts.
        """

    def teachers(self) -> list[Teacher]:
        """Its teachers: the parts that have a method `signal`."""
        return [part for part in self.parts().values() if callable(getattr(part, "signal", None))]

    def to(self, device: torch.device | str) -> Self:
        """Move every part in place, except those that cannot be moved."""
        for part in self.parts().values():
            if callable(getattr(part, "to", None)):
                part.to(device)
        return self

    def state_dict(self) -> State:
        """The state of every part that has one, with hashes instead of frozen weights that were read from files."""
        parts = {name: part for name, part in self.parts().items() if isinstance(part, Stateful)}
        return {
            name: module_state(part) if isinstance(part, nn.Module) else part.state_dict()
            for name, part in parts.items()
        }

    def load_state_dict(self, state: State, /) -> None:
        """Restore the result of `state_dict`.

        Raises:
            CheckpointError: the state belongs to other parts, or to other frozen weights.
        """
        self.grow(state)
        parts = {name: part for name, part in self.parts().items() if isinstance(part, Stateful)}
        # A checkpoint that is older than a buffer lacks it; the buffer then keeps its initial value.
        needed = {name for name, part in parts.items() if not isinstance(part, Buffer)}
        if needed - state.keys() or state.keys() - parts.keys():
            raise CheckpointError(_difference(type(self).__name__, needed - state.keys(), state.keys() - parts.keys()))
        for name, kept in state.items():
            part = parts[name]
            if isinstance(part, nn.Module):
                load_module_state(part, kept)
            else:
                part.load_state_dict(kept)


def _difference(method: str, lacking: Set[str], left: Set[str]) -> str:
    """A sentence on how a state differs from that of a method."""
    words = [f"the method has {', '.join(sorted(lacking))}, of which it holds nothing"] if lacking else []
    words += (
        [f"it holds {', '.join(sorted(left))}, which the method does not have, and does not make in `grow`"]
        if left
        else []
    )
    return f"The state is not that of this {method}: {'; '.join(words)}."
