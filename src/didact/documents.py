"""Documents: types of nested values, and reading of JSON and TOML within limits.

JSON and TOML may come from elsewhere, so that didact reads all of it here: any problem is a `ValueError` with a clear
message, instead of a traceback from deep within a parser.
"""

import json
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Document = dict[str, Any]
"""A JSON object: strings, numbers, None, lists and further objects, by name."""
Values = Mapping[str, Any]
"""Read-only values by name, of any type."""
State = dict[str, Any]
"""The state of a part in a checkpoint: tensors, numbers, strings, None, and lists and string-keyed mappings of them."""

MEBIBYTE = 1 << 20
LARGEST = 64 * MEBIBYTE
"""The default limit of a document's size, in bytes."""
DEEPEST = 100
"""The limit of nested lists and objects in a document."""


def parse_json(text: str | bytes, *, unique: bool = False) -> Any:
    """Parse JSON.

    Args:
        text: in UTF-8, -16 or -32.
        unique: refuse an object with the same key twice, of which the last one would be kept.

    Raises:
        ValueError: it is not JSON, or nested more than `DEEPEST` levels deep.
    """
    try:
        return _shallow(json.loads(text, object_pairs_hook=_unique if unique else None))
    except (RecursionError, MemoryError):
        raise ValueError(f"it is nested more than {DEEPEST} levels deep, or too large") from None


def _unique(pairs: list[tuple[str, Any]]) -> Document:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in found if keys.count(key) > 1)!r} comes twice")
    return found


def parse_toml(text: str) -> Document:
    """Parse TOML.

    Raises:
        ValueError: it is not TOML, or nested more than `DEEPEST` levels deep.
    """
    import tomllib

    # The parser's time is quadratic in the number of parts of a dotted name.
    if re.search(rf"(?<![^\s.=])(?:[^\s.=]++\s*+\.\s*+){{{DEEPEST}}}", text):
        raise ValueError(f"it has a name of more than {DEEPEST} parts")
    try:
        return _shallow(tomllib.loads(text))
    except (RecursionError, MemoryError):
        raise ValueError(f"it is nested more than {DEEPEST} levels deep, or too large") from None


def read_text(path: Path, *, largest: int = LARGEST) -> str:
    """Read a text file.

    Args:
        path: of a file in UTF-8.
        largest: the limit of its size, in bytes.

    Raises:
        OSError: it cannot be read.
        ValueError: it is larger, not text, or not a regular file: to open a named pipe would wait for a writer.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("it is not a regular file")
    with path.open("rb") as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise ValueError(f"it has more than the {largest / MEBIBYTE:g} MiB that it may have")
    return content.decode()


def read_json(path: Path, *, largest: int = LARGEST) -> Any:
    """Read a JSON file; see `read_text` and `parse_json` for errors."""
    return parse_json(read_text(path, largest=largest))


def read_object(path: Path, *, largest: int = LARGEST) -> Document:
    """Read a JSON file with an object; raise `ValueError` for anything else, see also `read_json`."""
    found = read_json(path, largest=largest)
    if not isinstance(found, dict):
        raise ValueError(f"it holds a {type(found).__name__}, but must hold an object")
    return found


def _shallow(document: Any) -> Any:
    """Return a document, or refuse it if it is nested so deeply that recursion over it would fail."""
    level = [document]
    for _ in range(DEEPEST):
        inner = (item.values() if isinstance(item, dict) else item for item in level if isinstance(item, dict | list))
        level = [part for items in inner for part in items if isinstance(part, dict | list)]
        if not level:
            return document
    raise ValueError(f"it is nested more than {DEEPEST} levels deep")
