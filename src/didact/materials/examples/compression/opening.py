"""The directory of a search: locked while it is used, and taken up again by the same search alone."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from didact import trusting
from didact.documents import Document, read_object
from didact.errors import CheckpointError, ConfigError, RunError
from didact.experiment import config as configs
from didact.experiment import records
from didact.experiment.reading import SEARCHED
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
def taken_up(directory: Path, part: str, trust: Sequence[str]) -> Iterator[tuple[Path, Document]]:
    """The directory of a stopped search as its working folder sees it, and the arguments that it was begun with.

    Args:
        directory: the search's.
        part: its command, one of `PARTS`.
        trust: what its `config.json` may name.

    Raises:
        CheckpointError: It is no search of that command.
        ConfigError: It was given Python objects.
        TrustError: It names code or a download that is not in `trust`.
    """
    stored = records.read_config(directory)
    if not is_search(directory, part):
        raise CheckpointError(f"{directory} is no search that `didact {part}` began.")
    if stored["objects"]:
        raise ConfigError(
            f"The search {directory} was given its {' and '.join(stored['objects'])} from Python; go on from there: "
            f"call didact.{part} again with the same arguments, directory={str(directory)!r} and resume=True."
        )
    with trusting.untrusted(directory / "config.json", trust), records.working_folder(directory, stored) as path:
        settings = configs.make_config({**stored["config"], "trust": tuple(trust)}).flat()
        kept = {name: value for name, value in settings.items() if name not in (*SEARCHED, "made_up")}
        yield path, {**kept, **stored[part]}


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
