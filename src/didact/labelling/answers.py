"""What people answer: shared out, kept in a journal, and written as CSV.

The journal has a line of JSON for each act (an answer, a skip, an undo). A line is on the disk before the page is told
so; the CSV files are made of it anew, each as a whole. A line that was cut short, as its process was killed while it
wrote, was never confirmed and is left out.
"""

import csv
import errno
import fcntl
import hashlib
import io
import itertools
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from didact.documents import parse_json
from didact.errors import ConfigError, DataError, RunError, check_choice, check_range, nearest
from didact.evaluation.kappa import agreement_of
from didact.files import whole_file


def share_out(ids: Sequence[str], people: Sequence[str], overlap: float) -> dict[str, list[int]]:
    """Share rows out among people: each gets an equal part, and all get the overlap.

    Args:
        ids: of the rows; which are in the overlap depends on them alone.
        people: at least one.
        overlap: the share of the rows that all label, in [0, 1].

    Returns:
        By person, the places of the rows, in rising order.

    Raises:
        ConfigError: the overlap is out of range.
    """
    check_range("overlap", overlap, at_least=0.0, at_most=1.0)
    by_hash = sorted(range(len(ids)), key=lambda place: hashlib.sha256(ids[place].encode()).digest())
    common = set(by_hash[: round(overlap * len(ids))])
    alone = [place for place in range(len(ids)) if place not in common]
    parts = {person: alone[number :: len(people)] for number, person in enumerate(people)}
    return {person: sorted([*common, *part]) for person, part in parts.items()}


@dataclass
class _Person:
    rows: list[int]
    """Which rows are theirs, by their places among all."""
    labels: dict[str, str] = field(default_factory=dict)
    skipped: set[str] = field(default_factory=set)
    done: list[tuple[str, str | None, bool]] = field(default_factory=list)
    """Each act that can be undone: the id, its label before, and whether it was skipped before."""
    changes: int = 0


class Answers:
    """The answers of all people, by id.

    Args:
        out: the CSV `id,label` of what all who labelled a row say of it. That of each of several people is beside it,
            as `labels-anna.csv`, and so is the journal, `labels.journal.jsonl`.
        ids: of the rows, all different.
        classes: the possible labels.
        people: their names.
        overlap: the share of the rows that all of them label.

    Raises:
        RunError: another process writes these files.
        DataError: the journal is broken, or has labels that are no class.
    """

    def __init__(
        self, out: Path, ids: Sequence[str], classes: Sequence[str], people: Sequence[str], overlap: float = 0.0
    ) -> None:
        self.out, self.ids, self.classes = out, tuple(ids), tuple(classes)
        self.journal = out.with_name(f"{out.stem}.journal.jsonl")
        self._known = frozenset(ids)
        self._people = {person: _Person(rows) for person, rows in share_out(ids, people, overlap).items()}
        self.gone = 0
        """How many acts in the journal are about rows or people that are no longer there."""
        if out.exists() and not self.journal.exists():
            raise ConfigError(f"out is {str(out)!r}, which exists and was not written by `didact label`; name another.")
        out.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self.journal, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._file)
            raise RunError(f"Another `didact label` writes {out}; stop it, or give another --out.") from None
        try:
            self._replay()
        except BaseException:
            self.close()
            raise
        for person in self._people:
            self._write(person)

    def close(self) -> None:
        """Leave the files to others."""
        os.close(self._file)

    @property
    def people(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self._people)

    def path_of(self, person: str) -> Path:
        """The CSV of a person: `out` where there is only one."""
        return self.out if len(self._people) == 1 else self.out.with_name(f"{self.out.stem}-{person}{self.out.suffix}")

    def answer(self, person: str, name: str, label: str) -> None:
        """Keep an answer. The same once more changes nothing, another replaces it.

        Raises:
            ConfigError: an unknown class or row.
            OSError: the disk is full; the answer is not kept.
        """
        self._check(name)
        check_choice("label", label, self.classes)
        if self._people[person].labels.get(name) != label:
            self._append({"person": person, "act": "answer", "id": name, "label": label})
        self._write(person)

    def skip(self, person: str, name: str) -> None:
        """Put a row off until the others are done; one that is labelled or was skipped stays as it is."""
        self._check(name)
        known = self._people[person]
        if name not in known.labels and name not in known.skipped:
            self._append({"person": person, "act": "skip", "id": name})

    def undo(self, person: str) -> int | None:
        """Take a person's last act back, and then the one before; the place of its row, or None if there is none."""
        known = self._people[person]
        if not known.done:
            return None
        name = known.done[-1][0]
        self._append({"person": person, "act": "undo", "id": name})
        self._write(person)
        return next((place for place, row in enumerate(known.rows) if self.ids[row] == name), None)

    def label_of(self, person: str, place: int) -> str | None:
        """What a person says of their row at a place."""
        return self._people[person].labels.get(self.ids[self._people[person].rows[place]])

    def row_of(self, person: str, place: int) -> int:
        """Which row is at a place of a person's part.

        Raises:
            IndexError: it has no such place.
        """
        if place < 0:
            raise IndexError(place)
        return self._people[person].rows[place]

    def next_of(self, person: str, after: int = -1) -> int | None:
        """The next place without a label, from the one after `after` on, or None; skipped ones come last."""
        known = self._people[person]
        places = itertools.chain(range(after + 1, len(known.rows)), range(min(after + 1, len(known.rows))))
        open_places = [place for place in places if self.ids[known.rows[place]] not in known.labels]
        fresh = (place for place in open_places if self.ids[known.rows[place]] not in known.skipped)
        return next(fresh, open_places[0] if open_places else None)

    def progress(self, person: str) -> dict[str, Any]:
        """How far a person is: numbers of rows, answers, skipped rows and changed answers; and of each class."""
        known = self._people[person]
        given = [known.labels[self.ids[row]] for row in known.rows if self.ids[row] in known.labels]
        counts = Counter(given)
        return {
            "total": len(known.rows),
            "answered": len(given),
            "skipped": len(known.skipped),
            "changed": known.changes,
            "counts": [counts[name] for name in self.classes],
            "undo": bool(known.done),
        }

    def agreed(self) -> dict[str, str]:
        """By id, the label that more people gave than any other; rows on which they are divided are left out."""
        votes: dict[str, Counter[str]] = {}
        for known in self._people.values():
            for name, label in known.labels.items():
                votes.setdefault(name, Counter())[label] += 1
        first = {name: [*found.most_common(2), ("", 0)] for name, found in votes.items()}
        return {name: best[0][0] for name, best in first.items() if best[0][1] > best[1][1]}

    def agreement(self) -> list[dict[str, Any]]:
        """For each pair of people: how many rows both labelled, raw agreement, Cohen's kappa, and where they differ."""
        found = []
        for one, other in itertools.combinations(self._people, 2):
            first, second = self._people[one].labels, self._people[other].labels
            both = [name for name in self.ids if name in first and name in second]
            measured = agreement_of([first[name] for name in both], [second[name] for name in both])
            differ = [
                {"id": name, one: first[name], other: second[name]} for name in both if first[name] != second[name]
            ]
            found.append({"people": [one, other], **measured._asdict(), "differ": differ})
        return found

    def _check(self, name: str) -> None:
        if name not in self._known:
            raise ConfigError(f"id is {name!r}, which is no row; load the page again.")

    def _append(self, act: Mapping[str, str]) -> None:
        """Write an act to the disk, and then carry it out."""
        data = (json.dumps({**act, "time": datetime.now(UTC).isoformat(timespec="seconds")}) + "\n").encode()
        end = os.fstat(self._file).st_size
        try:
            if os.write(self._file, data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.journal))
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, end)
            raise
        self._carry_out(act)

    def _carry_out(self, act: Mapping[str, str]) -> None:
        known, name = self._people[act["person"]], act["id"]
        before = known.labels.get(name)
        if act["act"] == "undo":
            name, before, skipped = known.done.pop()
            known.labels.pop(name, None)
            known.skipped.discard(name)
            if before is not None:
                known.labels[name] = before
            if skipped:
                known.skipped.add(name)
            return
        known.done.append((name, before, name in known.skipped))
        if act["act"] == "skip":
            known.skipped.add(name)
            return
        known.skipped.discard(name)
        known.changes += before is not None
        known.labels[name] = act["label"]

    def _replay(self) -> None:
        """Carry out what the journal holds."""
        content = self.journal.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        os.ftruncate(self._file, len(whole))
        for number, line in enumerate(whole.split(b"\n")[:-1], 1):
            try:
                act = parse_json(line)
                person, kind, name = act["person"], act["act"], act["id"]
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(f"{self.journal}, line {number} is broken: {error}. Remove it to go on.") from None
            known = self._people.get(person)
            if known is None or name not in self._known or (kind == "undo" and not known.done):
                self.gone += 1
                continue
            if kind == "answer" and act.get("label") not in self.classes:
                raise DataError(
                    f"{self.journal}, line {number} has the label {act.get('label')!r}, which is no class now. "
                    f"{nearest(str(act.get('label')), self.classes)} Name it in --classes, or give another --out."
                )
            self._carry_out(act)

    def _write(self, person: str) -> None:
        """Write the CSV of a person, and that of what all agree on."""
        files = {self.path_of(person): self._people[person].labels, self.out: self.agreed()}
        for path, labels in files.items():
            with whole_file(path) as partial:
                partial.write_text(as_csv((name, labels[name]) for name in self.ids if name in labels), "utf-8")


def as_csv(rows: Iterable[tuple[str, str]]) -> str:
    """Pairs of an id and a label as CSV."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("id", "label"))
    writer.writerows(rows)
    return file.getvalue()
