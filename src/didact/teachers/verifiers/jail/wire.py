"""Messages between processes that don't trust each other: a length and JSON, of plain data only.

The receiver checks a message and rebuilds it from None, booleans, numbers, strings, bytes, lists, tuples, sets,
dictionaries and values of the standard library, of exactly these types, so no value overrides a comparison.
"""

import json
import os
import struct
from collections.abc import Callable
from typing import Any

from . import values

Message = dict[str, Any]
"""A message: JSON values by name."""
LARGEST = 4 << 20
"""The largest size of a message, in bytes."""


class WireError(Exception):
    """The other side sent an invalid message, or none at all."""


class NotPlainError(Exception):
    """A value that is not plain data."""


def send(descriptor: int, message: object) -> None:
    """Send a JSON value."""
    data = memoryview(frame(message))
    while data:
        data = data[os.write(descriptor, data) :]


def frame(message: object) -> bytes:
    """Encode a message: four bytes of length, and JSON."""
    body = json.dumps(message).encode()
    if len(body) > LARGEST:
        raise WireError("the message is too long")
    return struct.pack("<I", len(body)) + body


def parse(data: bytes) -> Any:
    """Decode a message of `frame`.

    Raises:
        WireError: it is invalid or incomplete.
    """
    if len(data) < 4 or len(data) != 4 + struct.unpack_from("<I", data)[0]:
        raise WireError("the message is not whole")
    try:
        return json.loads(data[4:])
    except (ValueError, RecursionError) as error:
        raise WireError("what came is no message") from error


def receive(descriptor: int) -> Any:
    """Receive the next message.

    Raises:
        WireError: the other side is gone, or sent an invalid message.
    """
    (size,) = struct.unpack("<I", _exactly(descriptor, 4))
    if size > LARGEST:
        raise WireError("the message is too long")
    return parse(struct.pack("<I", size) + _exactly(descriptor, size))


def _exactly(descriptor: int, size: int) -> bytes:
    # Straight from the descriptor, without a buffer that could take data meant for another process.
    parts = []
    while size:
        part = os.read(descriptor, min(size, 1 << 20))
        if not part:
            raise WireError("the other side is gone")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def pack(value: object, other: Callable[[object], object]) -> object:
    """Encode plain data as JSON values, each container with its type in front.

    Args:
        value: None, a number, a string, a container, or a value of the standard library.
        other: encodes anything else; may raise `NotPlainError`.
    """
    kind = type(value)
    if value is None or kind in (bool, float, str):
        return value
    if isinstance(value, int) and kind is int:
        # Beyond some thousands of digits Python refuses to write an integer in decimal.
        return value if value.bit_length() < 1024 else ["int", hex(value)]
    if isinstance(value, bytes) and kind is bytes:
        return ["bytes", value.hex()]
    if isinstance(value, dict) and kind is dict:
        return ["dict", *([pack(k, other), pack(v, other)] for k, v in value.items())]
    if isinstance(value, list | tuple | set | frozenset) and kind in _CONTAINERS.values():
        return [kind.__name__, *(pack(item, other) for item in value)]
    parts = values.parts(value)
    return other(value) if parts is None else ["value", parts[0], *(pack(part, other) for part in parts[1])]


_CONTAINERS: dict[str, Callable[..., object]] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}


def unpack(message: Any, other: Callable[[object], object]) -> Any:
    """What `pack` was given, built anew.

    Args:
        message: the message.
        other: decodes the results of `pack`'s `other`.

    Raises:
        WireError: it is not a result of `pack`.
    """
    if message is None or type(message) in (bool, int, float, str):
        return message
    try:
        kind, *items = message
        if kind in _CONTAINERS:
            return _CONTAINERS[kind](unpack(item, other) for item in items)
        if kind == "dict":
            return {unpack(key, other): unpack(value, other) for key, value in items}
        if kind == "bytes":
            return bytes.fromhex(items[0])
        if kind == "int":
            return int(items[0], 16)
        if kind == "value":
            return values.built(items[0], [unpack(item, other) for item in items[1:]])
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, ImportError, RecursionError) as error:
        raise WireError("what came is no plain data") from error
    return other(message)
