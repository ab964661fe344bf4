"""The base class of monitors: the requested action, and a state of named attributes."""

import copy
from typing import ClassVar

from didact.documents import State
from didact.errors import check_choice
from didact.types import LEVELS, Level


class BaseMonitor:
    """A monitor whose state is the values of some of its attributes.

    Args:
        action: the action that it requests when it objects.

    Raises:
        ConfigError: `action` is none of `LEVELS`, or `ok`.
    """

    name: ClassVar[str]
    """Its name in configurations and reports: that of its file."""
    materials: ClassVar[tuple[str, ...]] = ()
    """The materials that it applies to, such as `examples`; empty for all."""
    kept: ClassVar[tuple[str, ...]] = ()
    """The attributes that change from window to window: numbers, strings, tensors, and lists of them."""

    def __init__(self, action: Level) -> None:
        check_choice(f"{type(self).__name__}(action=...)", action, LEVELS[1:])
        self.action: Level = action

    def state_dict(self) -> State:
        """The attributes that change, by name."""
        return {name: copy.deepcopy(getattr(self, name)) for name in self.kept}

    def load_state_dict(self, state: State, /) -> None:
        """Restore the result of `state_dict`."""
        for name in self.kept:
            setattr(self, name, copy.deepcopy(state[name]))
