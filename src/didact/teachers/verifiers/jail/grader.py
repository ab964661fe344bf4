"""The process that runs the tests. It knows them, and reaches the solution only through a pipe.

The solution's functions and objects are proxies here; what they return is plain data that this process has built
itself, so that nothing that the solution overrides or patches takes part in a comparison.
"""

import builtins
import importlib
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

from . import wire

Names = dict[str, Any]
"""The contents of a namespace."""


class SolutionError(Exception):
    """The solution raised an exception of its own, or its process is gone."""


class BrokenTestsError(Exception):
    """The tests can't be run, whatever the solution."""


class Remote:
    """A proxy of a function or an object of the solution: equal to nothing but itself, neither true nor false."""

    __slots__ = ("_ask", "_handle")

    def __init__(self, ask: "Solution", handle: int) -> None:
        object.__setattr__(self, "_ask", ask)
        object.__setattr__(self, "_handle", handle)

    def __call__(self, *arguments: object, **keywords: object) -> Any:
        """Call it in the solution's process."""
        return self._ask(self, "call", *arguments, **keywords)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._ask(self, "get", name)

    def __setattr__(self, name: str, value: object) -> None:
        self._ask(self, "set", name, value)

    def __getitem__(self, key: object) -> Any:
        return self._ask(self, "item", key)

    def __setitem__(self, key: object, value: object) -> None:
        self._ask(self, "put", key, value)

    def __contains__(self, item: object) -> bool:
        return self._ask(self, "holds", item) is True

    def __iter__(self) -> Iterator[Any]:
        items = self._ask(self, "list")
        if type(items) is not list:
            raise SolutionError("the answer gave no list")
        return iter(items)

    def __len__(self) -> int:
        return self._ask(self, "len")

    def __str__(self) -> str:
        return self._ask(self, "str")

    def __repr__(self) -> str:
        return self._ask(self, "repr")

    def __int__(self) -> int:
        return self._ask(self, "int")

    def __float__(self) -> float:
        return self._ask(self, "float")

    def __bool__(self) -> bool:
        raise TypeError("an object of the answer's own is neither true nor false")

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


class Solution:
    """The solution, at the other end of the pipe."""

    def __init__(self, requests: int, replies: int) -> None:
        self._requests = requests
        self._replies = replies
        self.layers = self._reply()["layers"]

    def _reply(self) -> wire.Message:
        try:
            reply = wire.receive(self._replies)
        except wire.WireError as error:
            raise SolutionError(str(error)) from None
        if type(reply) is not dict:
            raise SolutionError("what came is no reply")
        return reply

    def names(self) -> wire.Message:
        """The public names that the solution defines, after it ran."""
        names = self._value(self._reply(), "names")
        if type(names) is not dict:
            raise SolutionError("what came is no reply")
        return {name: self._unpacked(value) for name, value in names.items()}

    def __call__(self, target: Remote, action: str, *arguments: object, **keywords: object) -> Any:
        """Use an object of the solution, and apply its changes to the arguments."""
        packed = [self._packed(item) for item in arguments]
        named = {key: self._packed(item) for key, item in keywords.items()}
        request = {"object": target._handle, "action": action, "arguments": packed, "keywords": named}
        reply = self._asked(request)
        result = self._unpacked(self._value(reply, "result"))
        changed = reply.get("changed")
        for mine, now in zip(arguments, changed if type(changed) is list else (), strict=False):
            if now is not None:
                _take_over(mine, self._unpacked(now))
        return result

    def program(self, text: str) -> str:
        """The standard output of the solution, run as a program that reads this text."""
        output = self._value(self._asked({"input": text}), "result")
        return output if type(output) is str else ""

    def _asked(self, request: object) -> wire.Message:
        try:
            wire.send(self._requests, request)
        except OSError:
            raise SolutionError("the answer is gone") from None
        return self._reply()

    def _value(self, reply: wire.Message, key: str) -> Any:
        if "raised" in reply:
            known = getattr(builtins, str(reply["raised"]), None)
            message = str(reply.get("message", ""))
            if isinstance(known, type) and issubclass(known, Exception) and not issubclass(known, UnicodeError):
                raise known(message)
            raise SolutionError(f"{reply['raised']}: {message}")
        return reply.get(key)

    def _unpacked(self, message: object) -> Any:
        try:
            return wire.unpack(message, self._object)
        except wire.WireError as error:
            raise SolutionError(str(error)) from None

    def _object(self, message: object) -> Remote:
        if type(message) is list and len(message) == 2 and message[0] == "object" and type(message[1]) is int:
            return Remote(self, message[1])
        raise wire.WireError("what came is no plain data")

    def _packed(self, value: object) -> Any:
        return wire.pack(value, _handle)


def _handle(value: object) -> Any:
    if type(value) is Remote:
        return ["object", value._handle]
    raise BrokenTestsError(f"the tests hand over a {type(value).__name__}, which is not plain data")


def _take_over(mine: object, now: object) -> None:
    """Change an argument in place, as the solution did."""
    if type(mine) is list and type(now) is list:
        mine[:] = now
    elif (type(mine) is dict and type(now) is dict) or (type(mine) is set and type(now) is set):
        mine.clear()
        mine.update(now)


def grade(solution: Solution, job: wire.Message) -> wire.Message:
    """Run the tests; return how many passed of how many, and why the first one failed."""
    checks = _cases(solution, job["tests"]) if job["program"] else _tests(solution, job)
    passed, total, reason = 0, 0, ""
    for check in checks:
        total += 1
        try:
            check()
            passed += 1
        except BrokenTestsError:
            raise
        except BaseException as error:
            reason = reason or f"{type(error).__name__}: {error}"[:300]
    return {"passed": passed, "total": total, "reason": reason}


def _cases(solution: Solution, cases: list[dict[str, str]]) -> Iterator[Callable[[], None]]:
    def lines(text: str) -> list[str]:
        return [line.rstrip() for line in text.rstrip().splitlines()]

    def check(case: dict[str, str]) -> None:
        if lines(solution.program(case["input"])) != lines(case["output"]):
            raise AssertionError("another output")

    for case in cases:
        yield lambda case=case: check(case)


def _tests(solution: Solution, job: wire.Message) -> Iterator[Callable[[], None]]:
    namespace: Names = {"__name__": "tests"}
    codes = [_compiled(source) for source in job["tests"]]
    if job["setup"]:
        _prepare(_compiled(job["setup"]), namespace)
    try:
        names = solution.names()
    except Exception as error:
        yield from [_raising(error)] * len(codes)
        return
    _introduce(namespace, names, codes, job["entry_point"])
    for code in codes:
        before = set(namespace)
        yield lambda code=code: exec(code, namespace)
        yield from _found(namespace, set(namespace) - before, job["entry_point"])


def _compiled(source: str) -> types.CodeType:
    try:
        return compile(source, "tests", "exec")
    except (SyntaxError, ValueError) as error:
        raise BrokenTestsError(f"the tests are no Python: {error}") from None


def _prepare(code: types.CodeType, namespace: Names) -> None:
    try:
        exec(code, namespace)
    except BaseException as error:
        raise BrokenTestsError(f"the set-up of the tests raised {type(error).__name__}: {error}") from None


def _raising(error: Exception) -> Callable[[], None]:
    def check() -> None:
        raise error

    return check


def _introduce(namespace: Names, names: wire.Message, codes: list[Any], entry_point: str | None) -> None:
    """Give the tests the solution's names; they never shadow a builtin or a module, except for the entry point."""
    used = {name for code in codes for name in _names(code)}
    for name in (used & sys.stdlib_module_names) - set(namespace) - {entry_point}:
        namespace[name] = importlib.import_module(name)
    kept = set(namespace) | set(dir(builtins))
    offered = {name: value for name, value in names.items() if name == entry_point or name not in kept}
    if entry_point:
        offered = {entry_point: offered[entry_point]} if entry_point in offered else {}
        if offered:
            offered["candidate"] = offered[entry_point]
    namespace.update(offered)
    module = types.ModuleType("solution")
    module.__dict__.update(offered)
    sys.modules["solution"] = module


def _names(code: types.CodeType) -> set[str]:
    inner = (_names(constant) for constant in code.co_consts if isinstance(constant, types.CodeType))
    return set(code.co_names).union(*inner)


def _found(namespace: Names, new: set[str], entry_point: str | None) -> Iterator[Callable[[], None]]:
    """The tests that a source defined rather than ran: `check(candidate)`, `test_...()`, test cases of unittest."""
    if "check" in new and entry_point and isinstance(namespace["check"], types.FunctionType):
        yield lambda: namespace["check"](namespace[entry_point])
    for name in sorted(new):
        if name.startswith("test") and isinstance(namespace[name], types.FunctionType):
            yield namespace[name]
    case = getattr(sys.modules.get("unittest"), "TestCase", None)
    for name in sorted(new):
        if case and isinstance(namespace[name], type) and issubclass(namespace[name], case):
            for test in sys.modules["unittest"].TestLoader().loadTestsFromTestCase(namespace[name]):
                yield lambda test=test: test.debug()
