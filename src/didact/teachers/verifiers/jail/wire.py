"""Messages between processes that don't trust each other: a length and JSON, of plain data only.

What arrives is checked and built anew from None, booleans, numbers, strings, bytes, lists, tuples, sets and
dictionaries of exactly these types: a value has no behaviour of its own that could fool a comparison.
"""

import json
import os
import struct
from collections.abc import Callable
from typing import Any

Message = dict[str, Any]
"""What is sent: what JSON can hold, by name."""
LARGEST = 4 << 20
"""Bytes in a message; what is longer is refused."""


class WireError(Exception):
    """The other side sent something that is no message, or none at all."""


class NotPlainError(Exception):
    """A value that is not plain data."""


def send(descriptor: int, message: object) -> None:
    """Send what JSON can hold."""
    data = memoryview(frame(message))
    while data:
        data = data[os.write(descriptor, data) :]


def frame(message: object) -> bytes:
    """A message as it is sent: four bytes of length, and JSON."""
    body = json.dumps(message).encode()
    if len(body) > LARGEST:
        raise WireError("the message is too long")
    return struct.pack("<I", len(body)) + body


def parse(data: bytes) -> Any:
    """The message that `frame` was given.

    Raises:
        WireError: it is none, or not whole.
    """
    if len(data) < 4 or len(data) != 4 + struct.unpack_from("<I", data)[0]:
        raise WireError("the message is not whole")
    try:
        return json.loads(data[4:])
    except (ValueError, RecursionError) as error:
        raise WireError("what came is no message") from error


def receive(descriptor: int) -> Any:
    """The next message.

    Raises:
        WireError: the other side is gone, or what came is no message.
    """
    (size,) = struct.unpack("<I", _exactly(descriptor, 4))
    if size > LARGEST:
        raise WireError("the message is too long")
    return parse(struct.pack("<I", size) + _exactly(descriptor, size))


def _exactly(descriptor: int, size: int) -> bytes:
    # Straight from the descriptor, without a buffer that could hold what another process is to read.
    parts = []
    while size:
        part = os.read(descriptor, min(size, 1 << 20))
        if not part:
            raise WireError("the other side is gone")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def pack(value: Any, other: Callable[[Any], Any]) -> Any:
    """Plain data as what JSON can hold, each container with its type in front.

    Args:
        value: what is to be sent; instances of subclasses go as the plain type that they extend.
        other: makes a JSON value of what is not plain; may raise `NotPlainError`.
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
    """What `pack` was given, built anew.

    Args:
        message: what came.
        other: makes a value of what `pack`'s `other` made.

    Raises:
        WireError: it is nothing that `pack` makes.
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
