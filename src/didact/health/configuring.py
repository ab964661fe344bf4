"""The monitors of a run, and their actions."""

import importlib
import pkgutil
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Literal, Protocol

from didact.errors import ConfigError, check_choice, nearest
from didact.types import LEVELS, Level, Monitor

Action = Level | Literal["off"]
ACTIONS: tuple[Action, ...] = (*LEVELS[1:], "off")
"""The choices for a monitor: the action that it requests when it objects, or `off`."""


class MonitorKind(Protocol):
    """The class of a monitor; see `BaseMonitor`."""

    name: str
    materials: tuple[str, ...]

    def __call__(self, *, action: Action = ...) -> Monitor:
        """Make one."""
        ...


@cache
def kinds() -> dict[str, MonitorKind]:
    """The classes of the monitors by their names.

    They are found by their path: the kind `loss_spike` is the class `LossSpike` in the file `loss_spike.py`.
    """
    names = [module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)])]
    classes = {name: "".join(word.capitalize() for word in name.split("_")) for name in names}
    modules = {name: importlib.import_module(f"didact.health.{name}") for name in names}
    return {name: getattr(modules[name], kind) for name, kind in classes.items() if hasattr(modules[name], kind)}


def monitors(material: str = "examples", choices: Iterable[str] = ()) -> list[Monitor]:
    """One of each monitor that applies to a material, with some actions changed and some monitors left out.

    Args:
        material: that of the method's feed, such as `examples`.
        choices: see `actions`.

    Returns:
        New monitors at every call: a monitor has state and belongs to one run.

    Raises:
        ConfigError: see `actions`.
    """
    asked = actions(choices)
    fitting = {name: kind for name, kind in kinds().items() if material in (kind.materials or (material,))}
    chosen = {name: kind for name, kind in fitting.items() if asked.get(name) != "off"}
    return [kind(action=asked[name]) if name in asked else kind() for name, kind in chosen.items()]


def actions(choices: Iterable[str]) -> dict[str, Action]:
    """Parse the actions of monitors that differ from the defaults.

    Args:
        choices: words such as `loss_spike=roll_back` or `effective_rank=off`, see `ACTIONS`.

    Returns:
        The actions by the name of the monitor.

    Raises:
        ConfigError: a word of another form, an unknown monitor or action.
    """
    return dict(_parse(choice) for choice in choices)


def _parse(choice: str) -> tuple[str, Action]:
    name, equals, action = (part.strip() for part in choice.partition("="))
    if not equals:
        raise ConfigError(f"monitors has {choice!r}, but must be like loss_spike=roll_back or effective_rank=off.")
    if name not in kinds():
        raise ConfigError(f"There is no monitor {name!r}. {nearest(name, kinds())} `didact list monitors` prints them.")
    check_choice(f"monitors: {name}", action, ACTIONS)
    return name, ACTIONS[ACTIONS.index(action)]
