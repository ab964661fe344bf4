"""Breaks a method by hand, on which a check of its mechanism must fail."""

import contextlib
import importlib
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from didact import catalogue
from didact.errors import ConfigError, check_choice
from didact.types import Term, Terms


@contextlib.contextmanager
def broken(method: str, how: str) -> Iterator[None]:
    """Break a name in the module of a method for a while.

    Args:
        method: its name.
        how: `flip NAME` turns the sign of what a function returns, `drop NAME` makes it zero, `shuffle NAME` gives it
            the rows of its first tensor in another order, `skip NAME` does nothing in its place, and `bypass NAME`
            returns its first argument. NAME is what the method's module calls the function; that of a class's function
            is written `Class.function`.

    Raises:
        ConfigError: there is no such way or no such name.
    """
    way, _, name = how.partition(" ")
    check_choice("breaks", way, _WAYS)
    first, _, inner = name.partition(".")
    home: Any = importlib.import_module(catalogue.find(method).module)
    if inner:
        home = getattr(home, first, None)
    own = inner or first
    if not hasattr(home, own):
        raise ConfigError(f"breaks is {how!r}, but the module of {method} has no {name!r}.")
    whole = getattr(home, own)
    setattr(home, own, _WAYS[way](whole))
    try:
        yield
    finally:
        setattr(home, own, whole)


def _scaled(found: Any, by: float) -> Any:
    """What a function returned, times a factor."""
    if isinstance(found, Term):
        return Term(found.sum * by, found.count, found.weight, group=found.group)
    if isinstance(found, Terms):
        return Terms({name: _scaled(term, by) for name, term in found.items()})
    if isinstance(found, tuple):
        return tuple(_scaled(one, by) for one in found)
    return found * by if isinstance(found, Tensor | float) else found


def _flip(whole: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *given, **named: _scaled(whole(*given, **named), -1.0)


def _drop(whole: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *given, **named: _scaled(whole(*given, **named), 0.0)


def _shuffle(whole: Callable[..., Any]) -> Callable[..., Any]:
    def shuffled(*given: Any, **named: Any) -> Any:
        at = next((i for i, one in enumerate(given) if isinstance(one, Tensor)), None)
        if at is None:
            raise ConfigError("breaks shuffles a function without a tensor by position.")
        return whole(*given[:at], given[at].roll(1, 0), *given[at + 1 :], **named)

    return shuffled


def _skip(_whole: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *_given, **_named: None


def _bypass(_whole: Callable[..., Any]) -> Callable[..., Any]:
    return lambda first, *_given, **_named: first


_WAYS = {"bypass": _bypass, "flip": _flip, "drop": _drop, "shuffle": _shuffle, "skip": _skip}
