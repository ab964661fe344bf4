"""Messages between processes that don't trust each other: a length and JSON, of plain data only.

Incoming messages are checked and rebuilt from None, booleans, numbers, strings, bytes, lists, tuples, sets and
dictionaries of exactly these types: a value has no behaviour of its own that could deceive a comparison.
"""

import json
import os
import struct
from collections.abc import Callable
from typing import Any

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


def pack(value: Any, other: Callable[[Any], Any]) -> Any:
    """Encode plain data as JSON values, each container with its type in front.

    Args:
        value: the value; instances of subclasses are sent as the plain type that they extend.
        other: encodes values that are not plain; may raise `NotPlainError`.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, bytes | bytearray):
        return ["bytes", bytes(value).hex()]
    if isinstance(value, complex):
        return ["complex", value.real, value.imag]
    if isinstance(value, dict):
        return ["dict", *([pack(k, other), pack(v, other)] for k, v in value.items())]
    for kind in (list, tuple, set, frozenset):
        if isinstance(value, kind):
            return [kind.__name__, *(pack(item, other) for item in value)]
    return other(value)


_CONTAINERS: dict[str, Callable[[Any], Any]] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}


def unpack(message: Any, other: Callable[[Any], Any]) -> Any:
    """Rebuild a value from the result of `pack`.

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
        if kind == "complex":
            return complex(float(items[0]), float(items[1]))
    except (TypeError, ValueError, IndexError, RecursionError) as error:
        raise WireError("what came is no plain data") from error
    return other(message)
