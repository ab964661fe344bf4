"""Proxies of another process's functions, classes, objects and iterators."""

import types
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Protocol


def _named(words: str) -> list[str]:
    return [f"__{word}__" for word in words.split()]


_ARITHMETIC = "add sub mul matmul truediv floordiv mod divmod pow lshift rshift and or xor"
_OPERATORS = [f"__{side}{name}__" for side in ("", "r", "i") for name in _ARITHMETIC.split()]
_ORDER = _named("lt le gt ge")
_TURNING = _named("abs neg pos invert round trunc floor ceil int float complex bool index format len")
_OTHERS = """call iter next getitem setitem delitem contains enter exit eq hash str repr bytes reversed fspath aenter
    aexit aiter anext"""
SPECIAL = (*_named(_OTHERS), *_TURNING, *_ORDER, *_OPERATORS)
"""The special methods that a proxy forwards if the object's class defines them."""
CONTENT: dict[type, Callable[..., object]] = {
    bool: bool,
    int: int.__int__,
    float: float.__float__,
    complex: complex.__complex__,
    str: str.__str__,
    bytes: lambda value: bytes(bytes.__iter__(value)),
    tuple: lambda value: tuple(tuple.__iter__(value)),
    frozenset: lambda value: frozenset(frozenset.__iter__(value)),
}
"""Immutable plain types, each with the conversion of an instance of a subclass."""
_PLAIN = {*_named("eq hash bool len iter getitem contains int float complex index"), *_ORDER}
_SPECIAL_ATTRIBUTES = """name qualname doc dict annotations wrapped defaults kwdefaults members cause context notes
    slots dataclass_fields"""
FEW = 64
"""The number of items that are fetched one by one from an iterator, since its side effects may be visible."""


class Other(Protocol):
    """The interface of another process to its proxies."""

    def ask(self, target: object, action: str, *arguments: object, **keywords: object) -> object:
        """Use an object."""
        ...

    def notice(self) -> None:
        """Record that a failure may be due to a proxy."""
        ...

    def next(self, items: object, count: int) -> tuple[list[object], BaseException | None]:
        """At most `count` items of an iterator, and the exception that ended it, if any."""
        ...

    def equal(self, mine: object, other: object, content: bool) -> object:
        """Whether an object equals another one."""
        ...

    def compare(self, mine: object, name: str, other: object) -> object:
        """Order two objects."""
        ...

    def operate(self, mine: object, name: str, *operands: object) -> object:
        """Apply an operator."""
        ...

    def turn(self, mine: object, name: str, *options: object) -> object:
        """Convert an object to a number or a string."""
        ...


class AnswerExit(SystemExit):
    """The solution's exit; unlike an exit of the tests, it is a failure."""


def _read(proxy: object, peer: Other, name: str) -> object:
    """Get an attribute; no special one that controls its users, such as NumPy's `__array_function__`."""
    if name.startswith("__") and name[2:-2] not in _SPECIAL_ATTRIBUTES.split():
        peer.notice()
        raise AttributeError(name)
    return peer.ask(proxy, "get", name)


class Standin:
    """A proxy of an object."""

    _peer_: Other
    _number_: int

    def __getattr__(self, name: str) -> object:
        return _read(self, self._peer_, name)

    def __setattr__(self, name: str, value: object) -> None:
        self._peer_.ask(self, "set", name, value)

    def __delattr__(self, name: str) -> None:
        self._peer_.ask(self, "del", name)

    def __copy__(self) -> object:
        return self._peer_.ask(self, "copy", False)

    def __deepcopy__(self, memo: object) -> object:
        return self._peer_.ask(self, "copy", True)

    def __reduce_ex__(self, protocol: object) -> str:
        raise TypeError("a proxy can't be pickled")


class Function(Standin):
    """A proxy of a function."""

    def __getattribute__(self, name: str) -> object:
        # Attributes that this class has itself.
        if name in ("__doc__", "__dict__", "__annotations__"):
            return self._peer_.ask(self, "get", name)
        return super().__getattribute__(name)

    def __call__(self, *arguments: object, **keywords: object) -> object:
        """Call the function."""
        return self._peer_.ask(self, "call", *arguments, **keywords)

    def __get__(self, instance: object, owner: object = None) -> object:
        return self if instance is None else types.MethodType(self, instance)


class Items(Standin):
    """A proxy of an iterator."""

    def __iter__(self) -> "Items":
        return self

    def __next__(self) -> object:
        fetched: Iterator[object] = object.__getattribute__(self, "_fetched_")
        return next(fetched)

    def __getattribute__(self, name: str) -> object:
        # For `isinstance`.
        if name == "__class__" and object.__getattribute__(self, "_generator_"):
            return types.GeneratorType
        return super().__getattribute__(name)


def _fetched(items: Items) -> Generator[object]:
    given = 0
    while True:
        found, end = items._peer_.next(items, 1 if given < FEW else 4 * FEW)
        given += len(found)
        yield from found
        if isinstance(end, StopIteration):
            return
        if end is not None:
            raise end


class Mirror(type):
    """The metaclass of proxies of classes."""

    _peer_: Other
    _class_number_: int

    def __call__(cls, *arguments: object, **keywords: object) -> object:
        """Create an object."""
        return cls._peer_.ask(cls, "call", *arguments, **keywords)

    def __getattr__(cls, name: str) -> object:
        return _read(cls, cls._peer_, name)

    def __setattr__(cls, name: str, value: object) -> None:
        cls._peer_.ask(cls, "set", name, value)

    def __getitem__(cls, key: object) -> object:
        return cls._peer_.ask(cls, "__getitem__", key)

    def __iter__(cls) -> object:
        return cls._peer_.ask(cls, "__iter__")

    def __len__(cls) -> object:
        return cls._peer_.ask(cls, "__len__")

    def __contains__(cls, item: object) -> object:
        return cls._peer_.ask(cls, "__contains__", item)

    def __bool__(cls) -> bool:
        return True


def mirror(name: str, bases: Sequence[object], special: Sequence[str], peer: Other, number: int) -> Mirror:
    """Create a proxy of a class, with the same bases if they are known in this process.

    Args:
        name: the name of the class.
        bases: proxies, exceptions and plain types.
        special: the names of its special methods.
        peer: the other process.
        number: the number of the class in that process.
    """
    kinds = [base for base in bases if isinstance(base, type)]
    mirrored = [base for base in kinds if isinstance(base, Mirror)]
    errors = [base for base in kinds if issubclass(base, BaseException) and base not in mirrored]
    data = [base for base in kinds if base in CONTENT]
    changing = next((base for base in kinds if base in (list, dict, set)), None)
    extends = any(issubclass(base, tuple(CONTENT)) for base in (*mirrored, *data))
    names = [name for name in special if not (extends and name in _PLAIN)]
    body: dict[str, object] = {method: _special(method) for method in names}
    if "__eq__" in names:
        body["__eq__"] = lambda self, other: peer.equal(self, other, changing is not None)
        body.setdefault("__hash__", None)
    if changing:
        body["__class__"] = property(lambda self: changing)
    body |= {"_peer_": peer, "_class_number_": number, "__module__": "solution"}
    whole = (*(mirrored or [Standin]), *errors, *data)
    for tried in (whole, (Standin, *errors[:1]), (Standin,)):
        try:
            return type.__new__(Mirror, name, tried, dict(body))
        except TypeError:
            continue
    raise TypeError(f"no proxy for {name}")


def _special(name: str) -> Callable[..., object]:
    if name == "__next__":
        return lambda self: _one(self)
    if name == "__exit__":
        return lambda self, kind, error, _: self._peer_.ask(self, name, kind, error, None)
    if name in _ORDER:
        return lambda self, other: self._peer_.compare(self, name, other)
    if name in _OPERATORS:
        return lambda self, *operands: self._peer_.operate(self, name, *operands)
    if name in _TURNING:
        return lambda self, *options: self._peer_.turn(self, name, *options)
    return lambda self, *arguments: self._peer_.ask(self, name, *arguments)


def _one(items: Standin) -> object:
    found, end = items._peer_.next(items, 1)
    if end is not None:
        raise end
    return found[0]


def instance(kind: Mirror, number: int, given: Sequence[object]) -> object:
    """Create a proxy of an object.

    Args:
        kind: the proxy of its class.
        number: the number of the object in its process.
        given: the arguments of an exception, or the value of an instance of a subclass of a plain type.
    """
    made = _new(kind, given)
    object.__setattr__(made, "_number_", number)
    return made


def _new(kind: type, given: Sequence[object]) -> object:
    base = next((base for base in kind.__mro__ if base in CONTENT), None)
    if base:
        return base.__new__(kind, *given)
    return BaseException.__new__(kind, *given) if issubclass(kind, BaseException) else object.__new__(kind)


def plain_stand_in(kind: str, peer: Other, number: int) -> object:
    """Create a proxy of a function, an iterator, a generator or a coroutine."""
    if kind == "awaitable":
        return _awaited(peer, number)
    made = object.__new__(Function if kind == "function" else Items)
    object.__setattr__(made, "_peer_", peer)
    object.__setattr__(made, "_number_", number)
    if type(made) is Items:
        object.__setattr__(made, "_generator_", kind == "generator")
        object.__setattr__(made, "_fetched_", _fetched(made))
    return made


async def _awaited(peer: Other, number: int) -> object:
    return peer.ask(plain_stand_in("function", peer, number), "await")


def is_copied(value: object) -> bool:
    """Whether a value from the other process is a copy of data, rather than a proxy, a module or a builtin."""
    kinds = (types.ModuleType, types.BuiltinFunctionType, type, Function)
    return not isinstance(type(value), Mirror) and not isinstance(value, kinds)


def number_of(value: object, peer: Other) -> int | None:
    """The number of a proxy's object; None for other values and for proxies of other processes."""
    if isinstance(type(value), Mirror) or type(value) in (Function, Items):
        mine, number = object.__getattribute__(value, "_peer_"), object.__getattribute__(value, "_number_")
    elif isinstance(value, type) and type(value) is Mirror:
        mine, number = type.__getattribute__(value, "_peer_"), type.__getattribute__(value, "_class_number_")
    else:
        return None
    return number if mine is peer else None
