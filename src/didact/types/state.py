"""The state of a method: its parts, at any depth, and values that checkpoints keep."""

from functools import cache
from typing import Any, Generic, Literal, Self, TypeVar

import torch
from torch import Tensor, nn

from didact.documents import Document, State, Values
from didact.errors import ConfigError

Value = TypeVar("Value")


class Buffer(Generic[Value]):
    """A value of a method that changes during a run, and that checkpoints keep; `Stateful`.

    Args:
        value: a tensor, number, string, boolean or None, or lists and mappings of them.
    """

    def __init__(self, value: Value) -> None:
        self.value = value

    def __repr__(self) -> str:
        return f"Buffer({self.value!r})"

    def to(self, device: torch.device | str) -> Self:
        """Move the value to a device if it is a tensor."""
        if isinstance(self.value, Tensor):
            self.value = self.value.to(device)
        return self

    def state_dict(self) -> State:
        """The value."""
        return {"value": self.value}

    def load_state_dict(self, state: State, /) -> None:
        """Restore the result of `state_dict`, on the device of the present value."""
        kept = state["value"]
        self.value = kept.to(self.value.device) if isinstance(self.value, Tensor) else kept


@cache
def kind_of(cls: type) -> Literal["part", "container", "other"]:
    """Classify the values of a class: parts, containers that may hold parts, or neither.

    Modules, teachers and whatever has a `state_dict` and a `load_state_dict` are parts; lists, tuples and dictionaries
    are containers.
    """
    stateful = callable(getattr(cls, "state_dict", None)) and callable(getattr(cls, "load_state_dict", None))
    if issubclass(cls, nn.Module) or stateful or callable(getattr(cls, "signal", None)):
        return "part"
    return "container" if issubclass(cls, list | tuple | dict) else "other"


def holds_parts(container: Any) -> bool:
    """Whether a container may hold parts; checks each class among its items once, however many items there are."""
    return any(kind_of(cls) != "other" for cls in set(map(type, values_of(container))))


def values_of(container: Any) -> Any:
    """The items of a container, without their keys."""
    return container.values() if isinstance(container, dict) else container


def items_of(container: Any) -> Any:
    """The items of a container, with their keys or positions."""
    return container.items() if isinstance(container, dict) else enumerate(container)


def parts_of(attributes: Values, inside: str = "") -> Document:
    """The parts among some attributes, nested in lists, tuples and dictionaries at any depth.

    Args:
        attributes: values by name.
        inside: the place of what they are attributes of, with a dot after it.

    Returns:
        The parts by place, such as `heads.0` or `nets.critic.head`.

    Raises:
        ConfigError: two parts have the same place.
    """
    found: Document = {}
    for name, value in attributes.items():
        place, kind, new = f"{inside}{name}", kind_of(type(value)), Document()
        if kind == "part":
            new = {place: value}
        elif kind == "container" and holds_parts(value):
            new = parts_of(dict(items_of(value)), f"{place}.")
        if twice := new.keys() & found.keys():
            raise ConfigError(
                f"Two parts are called {min(twice)}, so that a checkpoint would keep one of them; rename one."
            )
        found |= new
    return found
