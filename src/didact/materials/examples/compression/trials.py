"""What a search has tried: each student, how it did and what it takes, kept as soon as it is there."""

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path

from didact import files
from didact.documents import Document, read_object
from didact.errors import CheckpointError, DataError
from didact.materials.examples.compression.footprint import Footprint
from didact.parts import saved
from didact.parts.student import Student

FOLDER, FACTS = "trials", "trial.json"
"""The folder in the directory of a search that holds one for each trial, and the file in that."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One student, taught once."""

    name: str
    """The candidate's."""
    number: int
    """The round, from 0."""
    seed: int
    metric: float
    """On the validation rows; NaN where teaching failed."""
    footprint: Footprint | None
    """What it takes; None where teaching failed."""
    seconds: float
    """How long it took."""
    failed: str = ""
    """Why there is no student, as a sentence."""

    @property
    def key(self) -> tuple[str, int, int]:
        """What it is found by."""
        return self.name, self.number, self.seed


class TrialStore:
    """Keeps trials with their students; in a directory each is written atomically, with checksums.

    Args:
        directory: that of the search; None keeps them in memory alone.
    """

    def __init__(self, directory: Path | None) -> None:
        self._folder = None if directory is None else directory / FOLDER
        self._memory = dict[tuple[str, int, int], Student | None]()

    def read(self, name: str, number: int, seed: int) -> Trial | None:
        """A trial that was kept in the directory; None if there is none.

        Raises:
            DataError: Its files are not what was written.
        """
        path = self._path((name, number, seed))
        if path is None or not path.exists():
            return None
        try:
            files.check_directory(path)
            found = read_object(path / FACTS)
            taken, metric = found["footprint"], found["metric"]
            return Trial(
                **{
                    **found,
                    "metric": math.nan if metric is None else metric,
                    "footprint": None if taken is None else Footprint(**taken),
                }
            )
        except (CheckpointError, OSError, ValueError, LookupError, TypeError) as error:
            reason = str(error).rstrip(". ")
            raise DataError(
                f"{path} is broken: {reason}. Delete that folder, and the student is tried again."
            ) from None

    def write(self, trial: Trial, student: Student | None) -> None:
        """Keep a trial and its student.

        Raises:
            OSError: The disk is full or not writable; the other trials are untouched.
        """
        path = self._path(trial.key)
        if path is None:
            self._memory[trial.key] = student
            return
        with files.whole_directory(path) as made:
            (made / FACTS).write_text(json.dumps(as_document(trial)) + "\n", encoding="utf-8")
            if student is not None:
                saved.save(student, made / saved.STUDENT)

    def student(self, trial: Trial) -> Student:
        """The student of a trial that did not fail."""
        path = self._path(trial.key)
        found = self._memory[trial.key] if path is None else saved.load(path / saved.STUDENT)
        assert found is not None
        return found

    def _path(self, key: tuple[str, int, int]) -> Path | None:
        name, number, seed = key
        word = hashlib.blake2b(name.encode(), digest_size=6).hexdigest()
        return None if self._folder is None else self._folder / f"{number}-{seed}-{word}"


def as_document(trial: Trial) -> Document:
    """A trial for JSON, which has no NaN."""
    return {**dataclasses.asdict(trial), "metric": trial.metric if math.isfinite(trial.metric) else None}
