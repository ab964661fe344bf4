"""The directory of a comparison: its lock, its settings, and each finished arm and seed as soon as it is there."""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from didact import files
from didact.documents import Document, Values, read_object
from didact.errors import CheckpointError, ConfigError, DataError, RunError
from didact.evaluation import ArmResult
from didact.experiment import records
from didact.loop.run import take_lock
from didact.types import Verdict

FOLDER = "arms"
"""The folder of the records in the directory of a comparison."""
_SUM = "checksum"
_FREE = ("progress", "trust", "device")
"""The settings that may differ when a comparison is resumed."""


@dataclass(frozen=True, kw_only=True)
class ArmRecord:
    """One arm with one seed: its result, and the records of its run that the comparison shows."""

    result: ArmResult
    curve: list[Document] = field(default_factory=list)
    """The records of `metrics.jsonl`."""
    verdicts: list[tuple[int, Verdict]] = field(default_factory=list)
    """Pairs of a step and a monitor's verdict."""
    teacher: str | None = None
    """The spec of the teacher, if its figures are known."""
    teacher_figures: dict[str, float] = field(default_factory=dict)
    """The teacher's metrics on the test examples, and the cost of training it."""
    notes: tuple[str, ...] = ()
    """Notes for a reader of the figures."""


class ArmStore:
    """Stores the records of a comparison; each is written atomically, with a checksum.

    Args:
        directory: that of the comparison; None stores nothing.
    """

    def __init__(self, directory: Path | None) -> None:
        self.folder = None if directory is None else directory / FOLDER

    def read(self, arm: str, seed: int) -> ArmRecord | None:
        """The record of an arm with a seed; None if it is not stored.

        Raises:
            DataError: The file is not what was written.
        """
        path = self._path(arm, seed)
        if path is None or not path.exists():
            return None
        try:
            stored = read_object(path)
            if stored.pop(_SUM, None) != _checksum(stored) or (stored["arm"], stored["seed"]) != (arm, seed):
                raise ValueError("its content is not what was written")
            return ArmRecord(
                result=ArmResult.of(stored["result"]),
                curve=stored["curve"],
                verdicts=[(step, Verdict(**verdict)) for step, verdict in stored["verdicts"]],
                teacher=stored["teacher"],
                teacher_figures=stored["teacher_figures"],
                notes=tuple(stored["notes"]),
            )
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise DataError(f"{path} is broken: {error}. Delete it, and that arm and seed are run again.") from None

    def write(self, arm: str, seed: int, record: ArmRecord) -> None:
        """Store a record.

        Raises:
            OSError: The disk is full or not writable; the other records are untouched.
        """
        path = self._path(arm, seed)
        if path is None:
            return
        verdicts = [(step, dataclasses.asdict(verdict)) for step, verdict in record.verdicts]
        document = {**vars(record), "arm": arm, "seed": seed, "result": record.result.as_dict(), "verdicts": verdicts}
        # As it will be read: a checksum of tuples would be one of lists.
        plain = json.loads(json.dumps(document, default=str))
        with files.whole_file(path) as partial:
            partial.write_text(json.dumps({**plain, _SUM: _checksum(plain)}) + "\n", encoding="utf-8")

    def _path(self, arm: str, seed: int) -> Path | None:
        """The file of an arm and seed; the arm's name, which may hold any character, is hashed."""
        key = hashlib.blake2b(arm.encode(), digest_size=6).hexdigest()
        return None if self.folder is None else self.folder / f"{seed}-{key}.json"


@contextlib.contextmanager
def opened(directory: Path | None, description: Document, resume: bool) -> Iterator[None]:
    """Lock the directory of a comparison, and write its `config.json`, or check that of the comparison to resume.

    Args:
        directory: None writes nothing.
        description: the contents of `config.json`.
        resume: whether to go on with a stored comparison.

    Raises:
        RunError: Another process uses the directory, or it holds a run or comparison already.
        CheckpointError: The stored comparison is another one.
    """
    if directory is None:
        if resume:
            raise ConfigError("resume is set, but directory is None; name that of the comparison to go on with.")
        yield
        return
    if resume:
        _check_same(directory, records.read_comparison(directory), records.plain(description))
    elif (directory / "config.json").exists():
        raise RunError(
            f"The directory {directory} already holds a run or a comparison; choose another, or go on with it: "
            f"didact resume {directory}"
        )
    directory.mkdir(parents=True, exist_ok=True)
    with take_lock(directory / "lock"):
        if not resume:
            records.write_json(directory / "config.json", description)
        try:
            yield
        except KeyboardInterrupt:
            words = f"Interrupted. What was finished is kept; go on with: didact resume {directory}"
            raise KeyboardInterrupt(words) from None


def _check_same(directory: Path, stored: Document, now: Document) -> None:
    """Raise `CheckpointError` if a stored comparison has other arms, seeds, settings or data."""
    before, after = _settings(stored), _settings(now)
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            raise CheckpointError(
                f"{name} is {after.get(name)!r}, but the comparison {directory} was begun with {before.get(name)!r}; "
                "give the same, or another directory."
            )
    if stored["data"].get("fingerprint") != now["data"].get("fingerprint"):
        raise CheckpointError(
            f"The data are not those that the comparison {directory} started with; restore them, or start a new one."
        )


def _settings(description: Document) -> dict[str, object]:
    """The shared settings, and those of each arm, that a resumed comparison must have too."""
    shared = {name: value for name, value in description["config"].items() if name not in _FREE}
    arms = {
        f"The arm {arm!r}": {name: value for name, value in own.items() if name not in _FREE}
        for arm, own in description["arms"].items()
    }
    return {**shared, **arms}


def _checksum(document: Values) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
