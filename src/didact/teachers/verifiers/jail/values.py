"""Values of the standard library and of NumPy, sent as their parts and rebuilt from them."""

import importlib
import sys
from collections.abc import Callable
from typing import Any

Parts = list[object]
"""The parts of a value, as plain data."""
_Table = dict[str, tuple[Callable[[Any], Parts], Callable[..., object] | None]]

_TABLE: _Table = {
    # type: its parts, and its constructor if that is not the type itself.
    "builtins.complex": (lambda v: [v.real, v.imag], None),
    "builtins.bytearray": (lambda v: [bytes(v)], None),
    "builtins.range": (lambda v: [v.start, v.stop, v.step], None),
    "builtins.slice": (lambda v: [v.start, v.stop, v.step], None),
    "builtins.ellipsis": (lambda _: [], lambda _: ...),
    "builtins.NotImplementedType": (lambda _: [], lambda _: NotImplemented),
    "decimal.Decimal": (lambda v: [str(v)], None),
    "fractions.Fraction": (lambda v: [v.numerator, v.denominator], None),
    "datetime.date": (lambda v: [v.year, v.month, v.day], None),
    "datetime.timedelta": (lambda v: [v.days, v.seconds, v.microseconds], None),
    "datetime.timezone": (lambda v: [v.utcoffset(None)], None),
    "datetime.time": (lambda v: [v.hour, v.minute, v.second, v.microsecond, _zone(v)], None),
    "datetime.datetime": (
        lambda v: [v.year, v.month, v.day, v.hour, v.minute, v.second, v.microsecond, _zone(v)],
        None,
    ),
    "uuid.UUID": (lambda v: [v.hex], None),
    "collections.deque": (lambda v: [list(v), v.maxlen], None),
    "collections.OrderedDict": (lambda v: [list(v.items())], None),
    "collections.Counter": (lambda v: [dict(v)], None),
    "collections.defaultdict": (
        lambda v: [getattr(v.default_factory, "__name__", None), dict(v)],
        lambda kind, factory, items: kind(_FACTORIES.get(factory), items),
    ),
    "pathlib.PosixPath": (lambda v: [str(v)], None),
    "pathlib.PurePosixPath": (lambda v: [str(v)], None),
    "numpy.generic": (lambda v: [v.dtype.str, v.tobytes()], lambda _, code, data: _array(code, [], data)[()]),
    "numpy.ndarray": (lambda v: [v.dtype.str, list(v.shape), v.tobytes()], lambda _, *parts: _array(*parts)),
}
_CHANGING = """builtins.bytearray collections.deque collections.OrderedDict collections.Counter collections.defaultdict
    numpy.ndarray"""
_FACTORIES = {kind.__name__: kind for kind in (list, dict, set, tuple, int, float, str, bool)}


def parts(value: object) -> tuple[str, Parts] | None:
    """The type and the parts of a value; None if its type is not in the table."""
    kind = type(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if kind.__module__ == "numpy" and issubclass(kind, sys.modules["numpy"].generic):
        name = "numpy.generic"
    if name in _TABLE:
        return None if name.startswith("numpy") and _opaque(value) else (name, _TABLE[name][0](value))
    if isinstance(value, BaseException) and exception(name) is kind:
        return "error", [name, *value.args]
    return None


def can_change(value: object) -> bool:
    """Whether a value is copied as its parts although it can change in place."""
    return f"{type(value).__module__}.{type(value).__qualname__}" in _CHANGING.split()


def built(name: str, given: Parts) -> object:
    """Rebuild a value from its parts.

    Raises:
        Exception: the parts are invalid.
    """
    if name == "error":
        return raisable(exception(str(given[0])), given[1:])
    make = _TABLE[name][1] or (lambda kind, *parts: kind(*parts))
    module, _, attribute = name.rpartition(".")
    return make(getattr(importlib.import_module(module), attribute, None), *given)


_LIBRARY = """asyncio ast binascii builtins calendar configparser copy csv _csv dataclasses decimal graphlib io json
    queue _queue re shutil socket statistics string struct subprocess tarfile unicodedata urllib xml zipfile zlib
    zoneinfo"""
"""The modules whose exceptions are rebuilt; none of them means a skipped test to a test runner."""


def exception(name: str) -> type[BaseException] | None:
    """An exception class by its module and name; None if it is in none of these modules."""
    module, _, attribute = name.rpartition(".")
    if module.partition(".")[0] not in _LIBRARY.split():
        return None
    found = getattr(sys.modules.get(module) or importlib.import_module(module), attribute, None)
    return found if isinstance(found, type) and issubclass(found, BaseException) else None


def raisable(kind: type[BaseException] | None, given: Parts) -> BaseException:
    """Create an exception with these arguments, even if its constructor takes others."""
    if kind is None:
        raise KeyError("unknown exception")
    try:
        return kind(*given)
    except Exception:
        return kind.__new__(kind, *given)


def _zone(value: Any) -> object:
    """The fixed time zone of a time; other zones are replaced by their offset at that time."""
    zone, kind = value.tzinfo, sys.modules["datetime"].timezone
    offset = None if zone is None else value.utcoffset()
    return zone if zone is None or type(zone) is kind or offset is None else kind(offset)


def _opaque(value: Any) -> bool:
    return value.dtype.hasobject or value.dtype.names is not None


def _array(code: object, shape: Any, data: Any) -> Any:
    import numpy

    return numpy.frombuffer(data, numpy.dtype(str(code))).reshape(shape).copy()
