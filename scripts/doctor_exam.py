"""The doctor's exam: set-ups with one planted fault each, and healthy ones.

Prints what `didact doctor` says of each; the exit status is 1 if it misses a fault, or finds one where there is none.

    python scripts/doctor_exam.py [WORD ...]    only the set-ups whose kind or name has one of the words
"""

import contextlib
import io
import json
import logging
import os
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from didact.cli import main as didact
from exam import arrays, language, servers, tables
from exam.room import QUESTIONS, Question, Room

ROOMS = (tables, arrays, language, servers)
MACHINE = frozenset({"device", "disk", "sandbox", "memory"})
"""Checks of the machine, which are no fault of a set-up."""
SHOWN = 88
"""Characters of a sentence in the table."""


@dataclass(frozen=True)
class Answer:
    """What the doctor said of a set-up."""

    question: Question
    findings: list[tuple[str, str, str]]
    """The warnings and failures: level, name and sentence."""
    status: int

    @property
    def told(self) -> tuple[str, str, str] | None:
        """The finding that names the planted fault; of a healthy set-up, the first finding at all."""
        pattern = re.compile(self.question.says, re.DOTALL)
        return next((found for found in self.findings if pattern.search(found[2])), None)

    @property
    def right(self) -> bool:
        """Whether the fault was found, or a healthy set-up has no finding; and the status says the same."""
        failed = any(level == "fail" for level, _, _ in self.findings)
        consistent = (self.status != 0) == failed
        return consistent and (self.told is None) == (not self.question.says)


@contextlib.contextmanager
def _within(path: Path) -> Iterator[None]:
    """The folder as the working directory, with its modules importable, and its own cache of answers."""
    before, variable = Path.cwd(), os.environ.get("DIDACT_CACHE")
    os.chdir(path)
    os.environ["DIDACT_CACHE"] = str(path / "cache")
    sys.path.insert(0, str(path))
    try:
        yield
    finally:
        sys.path.remove(str(path))
        os.chdir(before)
        os.environ.pop("DIDACT_CACHE")
        if variable is not None:
            os.environ["DIDACT_CACHE"] = variable


def ask(question: Question) -> Answer:
    """Build a set-up in a folder of its own, and run the doctor on it as the command line does."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        room, out, complaints = Room(path=Path(folder), stack=stack), io.StringIO(), io.StringIO()
        with _within(room.path), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                words = question.build(room)
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(complaints):
                status = didact(["doctor", *words, "--json"])
    return Answer(question, _findings(out.getvalue(), complaints.getvalue(), status), status)


def _findings(printed: str, complaint: str, status: int) -> list[tuple[str, str, str]]:
    if status == 2:
        return [("fail", "refused", " ".join(complaint.split()))]
    checks = [(check["level"], check["name"], check["detail"]) for check in json.loads(printed)]
    return [check for check in checks if check[0] != "pass" and check[1] not in MACHINE]


def chosen(words: Sequence[str]) -> list[Question]:
    """The questions whose kind or name has one of some words; all of them without any."""
    return [one for one in QUESTIONS if not words or any(word in f"{one.kind} {one.name}" for word in words)]


def _row(answer: Answer) -> str:
    told, planted = answer.told, bool(answer.question.says)
    verdict = {(True, True): "found", (True, False): "MISSED", (False, True): "healthy", (False, False): "FALSE ALARM"}
    said = told or next(iter(answer.findings), None)
    words = f"{said[0]} {said[1]}: {said[2]}" if said else "no complaint"
    short = words if len(words) <= SHOWN else f"{words[: SHOWN - 3]}..."
    kind, name = answer.question.kind, answer.question.name
    return f"{verdict[planted, answer.right]:<12}{kind:<10}{name:<78}{short}"


def main(words: Sequence[str]) -> int:
    """Hold the exam; the number of mistakes is printed, and the status is 1 if there are any."""
    logging.disable(logging.ERROR)
    begun, answers = time.monotonic(), list[Answer]()
    for question in chosen(words):
        answers.append(ask(question))
        print(_row(answers[-1]), flush=True)
    planted = [answer for answer in answers if answer.question.says]
    sound = [answer for answer in answers if not answer.question.says]
    found, calm = (sum(answer.right for answer in some) for some in (planted, sound))
    print(
        f"\n{found} of {len(planted)} planted faults found; {calm} of {len(sound)} healthy set-ups without a finding; "
        f"{time.monotonic() - begun:.0f} s."
    )
    return int(found < len(planted) or calm < len(sound))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
