"""The operations that another process may perform on the objects of this one."""

import sys
import types
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING

from .standins import CONTENT, SPECIAL

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

CALLABLE = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.MethodWrapperType)
"""Types of functions."""
_CLOSED = (*CALLABLE, types.GeneratorType, types.CoroutineType, types.FrameType, types.CodeType, types.TracebackType,
           types.ModuleType, type)  # fmt: skip
_RUNNERS = ("unittest.case", "_pytest", "pytest")
_TESTS = ("__main__", "tests", "types")


def special_of(kind: type) -> list[str]:
    """The special methods that a class adds to those of objects, exceptions and plain values."""

    def own(name: str) -> bool:
        owner = next((base for base in kind.__mro__ if name in base.__dict__), object)
        return owner is not object and owner is not BaseException and owner not in CONTENT

    return [name for name in SPECIAL if own(name)]


def words_of(error: BaseException) -> str:
    """The message of an exception, even if its class fails to give one."""
    try:
        return str(error)[:500]
    except BaseException:
        return ""


def is_nested(value: object) -> bool:
    """Whether a container holds other containers that can change."""
    items = [*value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
    return any(isinstance(item, list | dict | set) for item in items)


def take_over(mine: object, now: object) -> None:
    """Change an argument in place, as the other process did."""
    if type(mine) is list and type(now) is list:
        mine[:] = now
    elif (type(mine) is dict and type(now) is dict) or (type(mine) is set and type(now) is set):
        mine.clear()
        mine.update(now)


def guard(target: object, action: str, arguments: list[object]) -> None:
    """Refuse operations that would inspect the tests or change their checks."""
    if action not in ("get", "set", "del") or (isinstance(target, CALLABLE) and arguments == ["__name__"]):
        return
    name, kind = arguments[0], type(target)
    if type(name) is not str or name.startswith("_") or isinstance(target, _CLOSED):
        raise AttributeError("the solution can't inspect the tests")
    if any(base.__module__.startswith(_RUNNERS) for base in kind.__mro__):
        raise AttributeError("the solution can't use a test case")
    if _is_mock(target) and not _is_mock(getattr(target, name)):
        raise AttributeError("the solution can call a mock, and not configure it")
    if action != "get" and (kind.__module__ not in _TESTS or callable(getattr(kind, name, None))):
        raise AttributeError(f"the solution can't change {name}")


def _is_mock(value: object) -> bool:
    return any(base.__module__ == "unittest.mock" for base in type(value).__mro__)


_LOOPS: list["AbstractEventLoop"] = []


def perform(target: object, action: str, arguments: list[object], keywords: dict[str, object]) -> object:
    """Perform an operation on an object of this process.

    Raises:
        BaseException: what the operation raises.
    """
    if action == "call" and callable(target):
        return target(*arguments, **keywords)
    if action in SPECIAL:
        return getattr(type(target), action)(target, *arguments)
    return _ACTIONS[action](target, *arguments)


def _next(target: object, count: object) -> object:
    """At most `count` items of an iterator, and the exception that ended it, if any."""
    items: list[object] = []
    assert isinstance(target, Iterator) and isinstance(count, int)
    try:
        while len(items) < count:
            items.append(next(target))
    except BaseException as error:
        return [items, error]
    return [items, None]


def _await(target: object) -> object:
    """Run an awaitable to its end."""
    import asyncio

    async def awaited() -> object:
        assert isinstance(target, Awaitable)
        return await target

    if not _LOOPS:
        # One loop for all, as asyncio.run ends what an asynchronous generator goes on with.
        _LOOPS.append(asyncio.new_event_loop())
    return _LOOPS[0].run_until_complete(awaited())


def _copy(target: object, deep: bool) -> object:
    import copy

    return copy.deepcopy(target) if deep else copy.copy(target)


def _content(target: object) -> object:
    """A plain copy of an object whose class extends list, dict or set."""
    if isinstance(target, dict):
        return dict(target)
    return list(target) if isinstance(target, list) else set(target) if isinstance(target, set) else None


_ACTIONS: dict[str, Callable[..., object]] = {
    "get": getattr,
    "set": setattr,
    "del": delattr,
    "next": _next,
    "await": _await,
    "content": _content,
    "copy": _copy,
    # Not on an object, but on the process.
    "input": lambda _, *words: input(*words),
    "readline": lambda _: sys.stdin.readline(),
}
