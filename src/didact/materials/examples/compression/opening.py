"""The directory of a search: locked while it is used, and taken up again by the same search alone."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from didact.documents import Document, read_object
from didact.errors import CheckpointError, ConfigError, RunError
from didact.experiment import records
from didact.loop.run import take_lock

PARTS = ("compress", "recommend")
"""The entries of `config.json` with the arguments of a search, by its command."""
_FREE = ("progress", "trust", "device")
"""Settings that may differ when a search is resumed."""


def is_search(directory: Path, part: str) -> bool:
    """Whether a directory is that of a search of a command, finished or not."""
    try:
        return isinstance(read_object(directory / "config.json").get(part), dict)
    except (OSError, ValueError):
        return False


@contextlib.contextmanager
def opened(place: Path | None, description: Document, resume: bool) -> Iterator[None]:
    """Lock the directory of a search, and write its `config.json`, or check that of the search to resume.

    Raises:
        RunError: Another process uses the directory, or it holds something already.
        CheckpointError: The stored search is another one.
    """
    if place is None:
        if resume:
            raise ConfigError("resume is set, but directory is None; name that of the search to go on with.")
        yield
        return
    if resume:
        _check_same(place, description)
    elif (place / "config.json").exists():
        raise RunError(f"The directory {place} is taken already; choose another, or go on with: didact resume {place}")
    place.mkdir(parents=True, exist_ok=True)
    with take_lock(place / "lock"):
        if not resume:
            folder = os.path.relpath(Path.cwd(), place)
            records.write_json(place / "config.json", {**description, "folder": folder})
        try:
            yield
        except KeyboardInterrupt:
            words = f"Interrupted. What was tried is kept; go on with: didact resume {place}"
            raise KeyboardInterrupt(words) from None


def _check_same(place: Path, now: Document) -> None:
    stored = records.read_config(place)
    for part in sorted({*PARTS, "config"} & now.keys()):
        before = {name: value for name, value in stored.get(part, {}).items() if name not in _FREE}
        for name in sorted({*before, *now[part]} - set(_FREE)):
            if before.get(name) != now[part].get(name):
                raise CheckpointError(
                    f"{name} is {now[part].get(name)!r}, but the search {place} was begun with {before.get(name)!r}; "
                    "give the same, or another directory."
                )
    if stored["data"].get("fingerprint") != now["data"].get("fingerprint"):
        raise CheckpointError(f"The data are not those that the search {place} began with; restore them.")
