"""A run's directory: its lock, metrics and checkpoints."""

import fcntl
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from didact import files
from didact.documents import Document, Values, parse_json
from didact.errors import RunError
from didact.loop.checkpoint import list_checkpoints
from didact.loop.tracking import Tracking
from didact.types import Verdict


class RunDirectory:
    """Opens a directory for a run, and locks it against other processes while this one lives.

    Args:
        path: the directory; created if missing.
        fresh: refuse a directory that already holds a run.
        track: the trackers that also get the metrics; see `LoopConfig`.
        writes: False for the processes that only read checkpoints, while the first one writes.
        part_of: the directory to resume, if this training precedes another run; by default this one.

    Raises:
        RunError: a live run uses the directory, or it already holds one.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        fresh: bool = False,
        track: Sequence[str] = (),
        writes: bool = True,
        part_of: Path | None = None,
    ) -> None:
        self.path, self.writes = Path(path), writes
        self.resumed_by = f"didact resume {part_of or self.path}"
        self._lock: TextIO | None = None
        self._tracking = Tracking(track, self.path)
        if not writes:
            return
        if fresh and (self.path / "metrics.jsonl").exists():
            raise RunError(
                f"The directory {self.path} already holds a run; choose another, or go on with it: {self.resumed_by}"
            )
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = take_lock(self.path / "lock")

    @property
    def checkpoints(self) -> Path:
        """The folder of its checkpoints."""
        return self.path / "checkpoints"

    def prune(self) -> None:
        """Delete all checkpoints but the newest, from which `resume` repeats the end of a finished run."""
        for checkpoint in list_checkpoints(self.checkpoints)[1:]:
            shutil.rmtree(checkpoint, ignore_errors=True)

    def log(self, record: Values) -> None:
        """Append metrics to `metrics.jsonl` and send them to the trackers: a flat mapping with `step`."""
        if self.writes:
            self._append("metrics.jsonl", record)
            self._tracking.log(record)

    def verdict(self, record: Values) -> None:
        """Append a monitor's verdict to `verdicts.jsonl`."""
        if self.writes:
            self._append("verdicts.jsonl", record)

    def rewind(self, records: int = 0, verdicts: int = 0) -> tuple[list[Document], list[tuple[int, Verdict]]]:
        """Drop the records after a checkpoint, which a resumed run will write again.

        Args:
            records: the number of lines of `metrics.jsonl` at the checkpoint.
            verdicts: that of `verdicts.jsonl`.

        Returns:
            Those records, and those verdicts with their steps.

        Raises:
            RunError: a line is no record, or no verdict.
        """
        kept = {"metrics.jsonl": self._first("metrics.jsonl", records)}
        kept["verdicts.jsonl"] = self._first("verdicts.jsonl", verdicts)
        for name, lines in kept.items() if self.writes else ():
            with files.whole_file(self.path / name) as partial:
                partial.write_text("".join(json.dumps(line) + "\n" for line in lines))
        try:
            given = [(line.pop("step"), Verdict(**line)) for line in kept["verdicts.jsonl"]]
        except (TypeError, ValueError) as error:
            raise RunError(f"{self.path / 'verdicts.jsonl'} holds something else than verdicts: {error}.") from None
        return kept["metrics.jsonl"], given

    def close(self) -> None:
        """End the run in its trackers, and release the directory."""
        self._tracking.close()
        if self._lock is not None:
            self._lock.close()

    def _first(self, name: str, count: int) -> list[Document]:
        path = self.path / name
        return _read_records(path, count) if path.is_file() else []

    def _append(self, name: str, record: Values) -> None:
        with (self.path / name).open("a") as file:
            file.write(json.dumps(record) + "\n")


def _read_records(path: Path, count: int) -> list[Document]:
    """Read the first `count` lines of a file with one JSON object per line; a truncated last line is left out."""
    *lines, _ = path.read_bytes().split(b"\n")
    return [_read_record(f"{path}, line {number}", line) for number, line in enumerate(lines[:count], 1)]


def _read_record(place: str, line: bytes) -> Document:
    try:
        record = parse_json(line)
        if not isinstance(record, dict) or type(record.get("step")) is not int:
            raise ValueError("it is no object with a whole number as its step")
    except ValueError as error:
        raise RunError(
            f"{place} is no record of a run: {error}. Put the file back, or delete it: the run goes on, and only its "
            "figures so far are lost."
        ) from None
    return record


def take_lock(path: Path) -> TextIO:
    """Lock a directory by a file in it, until that is closed.

    Raises:
        RunError: a live run uses the directory.
    """
    # The kernel releases an flock when its process dies, however it dies.
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise RunError(
            f"The directory {path.parent} is in use by a live run (process {holder}); "
            "wait for it, stop it, or choose another directory."
        ) from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file
