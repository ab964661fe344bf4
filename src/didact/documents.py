"""Documents: names for what is nested in ways that its readers know, and the reading of JSON and TOML within limits.

Everything that didact reads as JSON or TOML may have been written elsewhere, so that it is read here: whatever is wrong
with it is a `ValueError`, whose message says so in the place of a traceback from deep within a parser.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Document = dict[str, Any]
"""What JSON holds as an object: strings, numbers, None, lists and further objects, by name."""
Values = Mapping[str, Any]
"""Values by name, of whatever kind each name wants; they are only read."""
State = dict[str, Any]
"""What a checkpoint holds of a part: tensors, numbers, strings, None, and lists and string-keyed mappings of them."""

MEBIBYTE = 1 << 20
LARGEST = 64 * MEBIBYTE
"""Bytes of a document, where its reader does not say otherwise."""
DEEPEST = 100
"""Levels of lists and objects in a document."""


def parse_json(text: str | bytes) -> Any:
    """What a text says in JSON.

    Raises:
        ValueError: it is no JSON, or nested more than `DEEPEST` levels deep.
    """
    try:
        return _shallow(json.loads(text))
    except (RecursionError, MemoryError):
        raise ValueError(f"it is nested more than {DEEPEST} levels deep, or too large") from None


def parse_toml(text: str) -> Document:
    """What a text says in TOML.

    Raises:
        ValueError: it is no TOML, or nested more than `DEEPEST` levels deep.
    """
    import tomllib

    # The parser goes through a name of many parts once for each of them.
    if re.search(rf"(?<![^\s.=])(?:[^\s.=]++\s*+\.\s*+){{{DEEPEST}}}", text):
        raise ValueError(f"it has a name of more than {DEEPEST} parts")
    try:
        return _shallow(tomllib.loads(text))
    except (RecursionError, MemoryError):
        raise ValueError(f"it is nested more than {DEEPEST} levels deep, or too large") from None


def read_text(path: Path, *, largest: int = LARGEST) -> str:
    """The text of a file.

    Args:
        path: of a file in UTF-8.
        largest: bytes that it may have.

    Raises:
        OSError: it cannot be read.
        ValueError: it is larger, or no text.
    """
    with path.open("rb") as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise ValueError(f"it has more than the {largest / MEBIBYTE:g} MiB that it may have")
    return content.decode()


def read_json(path: Path, *, largest: int = LARGEST) -> Any:
    """What a file says in JSON; see `read_text` and `parse_json` for what is raised."""
    return parse_json(read_text(path, largest=largest))


def read_object(path: Path, *, largest: int = LARGEST) -> Document:
    """The object that a file holds in JSON; a `ValueError` where it holds something else, see also `read_json`."""
    found = read_json(path, largest=largest)
    if not isinstance(found, dict):
        raise ValueError(f"it holds a {type(found).__name__}, but must hold an object")
    return found


def _shallow(document: Any) -> Any:
    """A document, refused where it is nested so deeply that whoever walks through it would break."""
    level = [document]
    for _ in range(DEEPEST):
        inner = (item.values() if isinstance(item, dict) else item for item in level if isinstance(item, dict | list))
        level = [part for items in inner for part in items if isinstance(part, dict | list)]
        if not level:
            return document
    raise ValueError(f"it is nested more than {DEEPEST} levels deep")
