"""Reading of configuration files, and of tables in strings. Nothing here imports torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from didact.documents import MEBIBYTE, Document, parse_json, parse_toml, read_text
from didact.errors import ConfigError

ALIASES = {"learner": "student"}
"""Accepted aliases of fields, as flags and in files."""
SEARCHED = (
    *("method", "student", "learner", "options", "budget", "epochs", "seconds", "seed", "select", "augment"),
    *("views", "monitors", "patience", "evaluate_every", "verifier", "sampling"),
)
"""Settings of a run that the search decides itself."""
LARGEST = MEBIBYTE
"""Maximal size of a configuration file in bytes."""


def read_file(path: str | Path) -> Document:
    """Read the values of a configuration file.

    Args:
        path: TOML (`.toml`) or JSON (`.json`), as `config.json` in a run's directory.

    Returns:
        Values by name, not yet checked.

    Raises:
        ConfigError: The file is missing or cannot be read as TOML or JSON.
    """
    path = Path(path)
    try:
        text = read_text(path, largest=LARGEST)
        values = parse_toml(text) if path.suffix.lower() == ".toml" else parse_json(text)
    except OSError as error:
        raise ConfigError(f"The configuration {str(path)!r} cannot be read: {error.strerror or error}.") from None
    except ValueError as error:
        kind = "TOML" if path.suffix.lower() == ".toml" else "JSON"
        raise ConfigError(f"The configuration {str(path)!r} is not {kind}: {error}.") from None
    if not isinstance(values, dict):
        raise ConfigError(
            f"The configuration {str(path)!r} holds {type(values).__name__}, but must be a table of options."
        )
    # A run's config.json has the configuration under the key `config`.
    stored = values.get("config")
    return dict(stored) if isinstance(stored, dict) else values


def parse_table(name: str, words: object) -> Any:
    """Read `samples=8,temperature=0.7` into a table; a value that is no string is returned unchanged.

    Raises:
        ConfigError: The string cannot be read.
    """
    if not isinstance(words, str):
        return words
    pairs = [part.partition("=") for part in words.split(",") if part.strip()]
    if any(not equals or not key.strip() for key, equals, _ in pairs):
        raise ConfigError(f"{name} is {words!r}, but must be like name=value,name=value.")
    return {key.strip().replace("-", "_"): value.strip() for key, _, value in pairs}


def parse_part(name: str, words: object) -> Any:
    """Read `int8,behind=1` into a table, whose `kind` is the first word; a value that is no string is unchanged.

    Raises:
        ConfigError: The string cannot be read.
    """
    if not isinstance(words, str):
        return words
    kind, _, options = words.partition(",")
    return {"kind": kind.strip(), **parse_table(name, options)}


def join_mixture(source: object) -> Any:
    """Write a table of data sets with their shares as `a.jsonl*0.7+b.jsonl*0.3`; what is no table is unchanged.

    Raises:
        ConfigError: A share is no number above 0, or a name cannot be told from others in a mixture.
    """
    if not isinstance(source, Mapping):
        return source
    for name, share in source.items():
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < float("inf"):
            raise ConfigError(f"data's source has the share {share!r} for {name!r}, but must have a number above 0.")
        if "+" in name:
            raise ConfigError(f"data's source has {name!r} in a mixture, where names have no '+'; rename the file.")
    if not source:
        raise ConfigError('data\'s source is an empty table; name a data set, such as "a.jsonl" = 1.')
    if len(source) == 1:
        return next(iter(source))
    return "+".join(f"{name}*{share:.10f}".rstrip("0").rstrip(".") for name, share in source.items())


def parse_values(name: str, words: object) -> Any:
    """Read `enable_thinking=false,depth=3` into a table of JSON's values, words where they are none.

    Raises:
        ConfigError: It cannot be read.
    """
    if not isinstance(words, str):
        return words
    return {key: _value(value) for key, value in parse_table(name, words).items()}


def _value(words: str) -> object:
    try:
        return parse_json(words)
    except ValueError:
        return words


def parse_budget(words: str) -> dict[str, str]:
    """Read `steps=500,seconds=60` (or `500`, which is steps) into a table.

    Raises:
        ConfigError: The string cannot be read.
    """
    parts = [part.strip() for part in words.split(",") if part.strip()]
    if len(parts) == 1 and "=" not in parts[0]:
        return {"steps": parts[0]}
    pairs = [part.partition("=") for part in parts]
    if not pairs or any(not equals for _, equals, _ in pairs):
        raise ConfigError(f"budget is {words!r}, but must be like steps=500 or steps=500,seconds=60.")
    return {axis.strip(): amount.strip() for axis, _, amount in pairs}
