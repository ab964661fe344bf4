"""Worlds: small real data and simulators on which a claim can be checked in seconds.

A world's docstring says what in it is real, and what is known about it.
"""

from collections.abc import Callable

from didact.errors import check_choice
from didact.types import Examples
from didact.worlds.digits import digits

_WORLDS: dict[str, Callable[[], Examples]] = {"digits": digits}

__all__ = ["digits", "load", "names"]


def names() -> tuple[str, ...]:
    """The worlds that there are, sorted."""
    return tuple(sorted(_WORLDS))


def load(name: str) -> Examples:
    """The examples of a world.

    Args:
        name: one of `names()`.

    Returns:
        The examples, loaded once a process; change none of its tensors in place.

    Raises:
        ConfigError: an unknown name; the nearest is offered.
        MissingExtraError: the package that the data come with is not installed.
    """
    check_choice("world", name, _WORLDS)
    return _WORLDS[name]()
