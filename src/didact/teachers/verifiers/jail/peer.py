"""Remote objects: plain data is copied between processes, and everything else stays where it is and has a proxy.

Both processes can pass objects: the solution its classes and generators, the tests their callbacks and nodes. The
process of the tests does not trust the other one: a remote object may say that it equals another remote object, but not
that it equals a value of the tests.
"""

import builtins
import contextlib
import io
import os
import sys
import threading
import types
from collections.abc import Callable, Collection

from . import values, wire
from .acts import CALLABLE, guard, is_nested, perform, special_of, take_over, words_of
from .standins import CONTENT, SPECIAL, AnswerExit, Function, Mirror, instance, mirror, number_of, plain_stand_in

MANY = 500
"""The number of requests beyond which the pipe, rather than the solution, may cause a time-out."""
_PURE = (abs, all, any, bin, chr, divmod, hash, hex, len, max, min, oct, ord, pow, repr, round, sorted, sum)
_BUILTIN = (type, types.BuiltinFunctionType)


class SolutionError(BaseException):
    """The solution's process is gone, or raised what would end the tests; no `Exception`, as tests may expect one."""


class Peer:
    """The process at the other end of two pipes.

    Args:
        reads: the descriptor of the pipe from it.
        writes: the descriptor of the pipe to it.
        wary: do not trust it.
        mentioned: names of exceptions that may be raised although they end loops or programs, since the tests use them.
        printed: a buffer of this process's output, which is sent to the other one.
    """

    def __init__(
        self, reads: int, writes: int, *, wary: bool = False, mentioned: Collection[str] = (),
        printed: io.BytesIO | None = None,
    ) -> None:  # fmt: skip
        self.wary = wary
        self.mentioned = frozenset(mentioned)
        self.strange = False
        """Whether anything but plain data went through the pipe, so the pipe may have caused a failure."""
        self.forged = False
        """Whether a remote object claimed to equal everything."""
        self.noticed: Callable[[], None] = lambda: None
        """Called when `strange` becomes True."""
        self._reads, self._writes, self._printed = reads, writes, printed
        self._held: list[object] = []
        self._numbers: dict[int, int] = {}
        self._standins: dict[int, object] = {}
        self._tainted: set[int] = set()
        self._returned: dict[int, object] = {}
        self._calls = 0
        self._lock = threading.RLock()

    # ---- what goes over

    def pack(self, value: object) -> object:
        """Encode a value."""
        try:
            return wire.pack(value, self._reference)
        except RecursionError:
            return self._reference(value)

    def _reference(self, value: object) -> object:
        if (number := number_of(value, self)) is not None:
            return ["yours", number]
        if isinstance(value, types.ModuleType):
            return ["module", value.__name__]
        if isinstance(value, type | types.BuiltinFunctionType) and getattr(builtins, value.__name__, None) is value:
            return ["builtin", value.__name__]
        if isinstance(value, type) and values.exception(f"{value.__module__}.{value.__qualname__}") is value:
            return ["exception", f"{value.__module__}.{value.__qualname__}"]
        if self.wary:
            self.notice()
        return self._described(value, type(value), self._hold(value))

    def _described(self, value: object, kind: type, number: int) -> object:
        if isinstance(value, CALLABLE) or (callable(value) and kind.__module__ == "functools"):
            return ["function", number]
        if isinstance(value, type):
            return ["class", number]
        if isinstance(value, types.GeneratorType):
            return ["generator", number]
        if hasattr(kind, "__await__"):
            return ["awaitable", number]
        if hasattr(kind, "__next__") and kind.__module__ in ("builtins", "itertools"):
            return ["iterator", number]
        given = value.args if isinstance(value, BaseException) else ()
        base = next((base for base in kind.__mro__ if base in CONTENT), None)
        given = given if base is None else (CONTENT[base](value),)
        return ["object", number, self._hold(kind), *(self.pack(item) for item in given)]

    def _hold(self, value: object) -> int:
        if id(value) not in self._numbers:
            self._numbers[id(value)] = len(self._held)
            self._held.append(value)
        return self._numbers[id(value)]

    def unpack(self, message: object) -> object:
        """Decode a value.

        Raises:
            SolutionError: the message is not a value.
        """
        try:
            return wire.unpack(message, self._resolved)
        except wire.WireError as error:
            raise SolutionError(str(error)) from None

    def _resolved(self, message: object) -> object:
        match message:
            case ["yours", int(number)] if 0 <= number < len(self._held):
                return self._held[number]
            case ["builtin", str(name)] if isinstance(found := getattr(builtins, name, None), _BUILTIN):
                if isinstance(found, type) or found in _PURE or not self.wary:
                    return found
            case ["exception", str(name)] if found := values.exception(name):
                return found
            case ["module", str(name)] if name.partition(".")[0] in (*sys.stdlib_module_names, "numpy"):
                return __import__(name, fromlist=["_"])
            case ["class", int(number)]:
                return self._class(number)
            case [("function" | "iterator" | "generator" | "awaitable") as kind, int(number)]:
                return self._kept(number, lambda: plain_stand_in(kind, self, number))
            case ["object", int(number), int(owner), *given]:
                kind, content = self._class(owner), [self.unpack(item) for item in given]
                return self._kept(number, lambda: instance(kind, number, content))
        raise wire.WireError("what came is no plain data")

    def _kept(self, number: int, make: Callable[[], object]) -> object:
        if number not in self._standins:
            self._standins[number] = make()
        return self._standins[number]

    def _class(self, number: int) -> Mirror:
        if number not in self._standins:
            found = self._exchange({"describe": number})
            bases = [self._base(self.unpack(base)) for base in _listed(found, "bases")]
            special = [str(name) for name in _listed(found, "special") if name in SPECIAL]
            self._standins[number] = mirror(str(found.get("name")), bases, special, self, number)
        kind = self._standins[number]
        if not isinstance(kind, Mirror):
            raise SolutionError("what came is no class")
        return kind

    def _base(self, base: object) -> object:
        """Replace an exception that would end a loop of the tests, or their program, unless they use its name."""
        if not self.wary or isinstance(base, Mirror) or not isinstance(base, type) or not _ends(base):
            return base
        return base if base.__name__ in self.mentioned and not issubclass(base, StopIteration) else Exception

    # ---- asking

    def ask(self, target: object, action: str, *arguments: object, **keywords: object) -> object:
        """Use a remote object, and apply its changes to the arguments.

        Raises:
            BaseException: what it raised; `SolutionError` for what would end a loop or a program.
        """
        self._calls += 1
        if action != "call" or type(target) is not Function or self._calls > MANY:
            self.notice()
        packed = [self.pack(item) for item in arguments]
        named = {key: self.pack(item) for key, item in keywords.items()}
        reply = self._exchange({"on": number_of(target, self), "do": action, "with": packed, "named": named})
        for mine, now in zip(arguments, _listed(reply, "changed"), strict=False):
            if now is not None:
                if is_nested(mine):
                    self.notice()  # which of the inner ones is which is not known
                take_over(mine, self.unpack(now))
        if reply.get("again") or any(values.can_change(item) for item in arguments):
            self.notice()  # what was copied may be changed in one process only
        match reply.get("same"):
            case int(place) if 0 <= place < len(arguments):
                return arguments[place]
        return self.unpack(reply.get("value"))

    def next(self, items: object, count: int) -> tuple[list[object], BaseException | None]:
        """At most `count` items of a remote iterator, and the exception that ended it, if any."""
        match self.ask(items, "next", count):
            case [[*found], StopIteration() | None as end]:
                return found, end
            case [[*found], BaseException() as error]:
                return found, self._error(error, f"{type(error).__name__}: {words_of(error)}")
        raise SolutionError("the solution gave no items")

    def equal(self, mine: object, other: object, content: bool) -> object:
        """Whether a remote object equals another one. If `wary`, it equals a local value by its content only.

        Args:
            mine: the proxy of the object.
            other: another proxy, or a local value.
            content: whether its class extends list, dict or set.
        """
        if not self.wary:
            return self.ask(mine, "__eq__", other)
        theirs = number_of(other, self) is not None
        if content and not theirs and self.ask(mine, "content") == other:
            return True
        with contextlib.suppress(Exception):
            # The local value is not sent: an object that equals a random word equals everything.
            self.forged |= self.ask(mine, "__eq__", os.urandom(8).hex()) is True
        if not theirs or self.forged:
            return False
        said = self.ask(mine, "__eq__", other)
        return (self.ask(other, "__eq__", mine) if said is NotImplemented else said) is True

    def operate(self, mine: object, name: str, *operands: object) -> object:
        """Apply an operator. If `wary`, the result is no number if an operand is a local value.

        Raises:
            SolutionError: it is a number that may depend on a local value.
        """
        told = any(number_of(operand, self) is None or id(operand) in self._tainted for operand in operands)
        return self._untold(self.ask(mine, name, *operands), told or id(mine) in self._tainted)

    def turn(self, mine: object, name: str, *options: object) -> object:
        """Convert a remote object to a number or a string; see `operate`."""
        return self._untold(self.ask(mine, name, *options), id(mine) in self._tainted)

    def _untold(self, found: object, told: bool) -> object:
        if not self.wary or not told or found is NotImplemented:
            return found
        if number_of(found, self) is None or isinstance(found, tuple(CONTENT)):
            raise SolutionError(
                "an object of the solution became a number after an operation with a value of the tests"
            )
        self._tainted.add(id(found))
        return found

    def compare(self, mine: object, name: str, other: object) -> object:
        """Order two objects. If `wary`, a remote object is not ordered with a local value."""
        if self.wary and number_of(other, self) is None:
            self.notice()
            return NotImplemented
        return self.ask(mine, name, other)

    def notice(self) -> None:
        """Record that something other than plain data went through the pipe."""
        if not self.strange:
            self.strange = True
            self.noticed()

    def _exchange(self, request: wire.Message) -> wire.Message:
        with self._lock:
            try:
                self.send(request)
                while not _is_reply(reply := self.receive()):
                    self.serve(reply)
            except (OSError, wire.WireError) as error:
                raise SolutionError(f"the solution is gone: {error}") from None
        return self.accepted(reply)

    def send(self, message: wire.Message) -> None:
        """Send a message."""
        wire.send(self._writes, message)

    def receive(self) -> wire.Message:
        """The next message.

        Raises:
            WireError: there is none, or it is no mapping.
        """
        message = wire.receive(self._reads)
        if type(message) is not dict:
            raise wire.WireError("what came is no message")
        return message

    def accepted(self, reply: wire.Message) -> wire.Message:
        """Return the reply, and print its output.

        Raises:
            BaseException: the exception in the reply.
        """
        if type(out := reply.get("out")) is str:
            sys.stdout.write(out)
        if "raised" in reply:
            raise self._error(self.unpack(reply["raised"]), str(reply.get("words", "")))
        return reply

    def _error(self, error: object, words: str) -> BaseException:
        """The local exception for a remote one; none that ends a loop or a program of the tests."""
        if not isinstance(error, BaseException):
            return SolutionError(words)
        if not self.wary or not _ends(type(error)):
            return error
        if not {kind.__name__ for kind in type(error).__mro__} & self.mentioned:
            return SolutionError(words)
        self.notice()
        if isinstance(error, StopIteration):  # it could end another loop of the tests
            return SolutionError(words)
        return AnswerExit(*error.args) if type(error) is SystemExit else error

    # ---- being asked

    def serve(self, request: wire.Message) -> None:
        """Answer a request of the other process."""
        try:
            reply = self._described_class(request["describe"]) if "describe" in request else self._done(request)
        except wire.WireError:
            raise
        except BaseException as error:
            reply = {"raised": self.pack(error), "words": f"{type(error).__name__}: {words_of(error)}"}
        self.reply(reply)

    def reply(self, reply: wire.Message) -> None:
        """Send a reply, with the output since the last one."""
        if self._printed is not None and (out := self._printed.getvalue()):
            reply["out"] = out.decode("utf-8", "replace")
            self._printed.seek(0)
            self._printed.truncate()
        try:
            wire.send(self._writes, reply)
        except wire.WireError as error:  # too long
            wire.send(self._writes, {"raised": None, "words": str(error)})

    def _described_class(self, number: int) -> wire.Message:
        kind = self._held[number]
        assert isinstance(kind, type)
        bases = [self.pack(base) for base in kind.__bases__ if base is not object]
        return {"name": kind.__name__, "bases": bases, "special": special_of(kind)}

    def _done(self, request: wire.Message) -> wire.Message:
        target = None if request["on"] is None else self._held[request["on"]]
        arguments = [self.unpack(item) for item in request["with"]]
        keywords = {key: self.unpack(item) for key, item in request["named"].items()}
        if self.wary:
            guard(target, request["do"], arguments)
        before = [self.pack(item) if isinstance(item, list | dict | set) else None for item in arguments]
        result = perform(target, request["do"], arguments, keywords)
        after = [None if was is None else self.pack(item) for was, item in zip(before, arguments, strict=True)]
        changed = [None if was == now else now for was, now in zip(before, after, strict=True)]
        for place, item in enumerate(arguments):
            if item is result and before[place] is not None:
                return {"same": place, "changed": changed}
        again = id(result) in self._returned
        if isinstance(result, list | dict | set):
            self._returned[id(result)] = result
        return {"value": self.pack(result), "changed": changed, "again": again}


def _is_reply(message: wire.Message) -> bool:
    return not {"do", "describe"} & message.keys()


def _listed(message: wire.Message, key: str) -> list[object]:
    found = message.get(key)
    return found if isinstance(found, list) else []


def _ends(kind: type) -> bool:
    """Whether an exception of this class ends a loop or a program, rather than report an error."""
    if not issubclass(kind, BaseException):
        return False
    return issubclass(kind, StopIteration) or not issubclass(kind, Exception)
