"""The questions of the exam: each builds the files of a set-up, and says what `didact doctor` must find in it."""

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

QUESTIONS: list["Question"] = []
"""All of them, in the order in which they were defined."""


@dataclass(frozen=True, kw_only=True)
class Room:
    """An empty folder for a set-up, and what is to be stopped when the doctor has been there."""

    path: Path
    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def file(self, name: str) -> str:
        """The path of a file in the folder."""
        return str(self.path / name)

    def write(self, name: str, text: str) -> str:
        """Write a file, and return its path."""
        (self.path / name).write_text(text, encoding="utf-8")
        return self.file(name)

    def lines(self, name: str, records: Sequence[Mapping[str, object]]) -> str:
        """Write a file of JSON, a line for each record, and return its path."""
        return self.write(name, "".join(f"{json.dumps(record)}\n" for record in records))

    def table(self, name: str, columns: Mapping[str, Sequence[object] | np.ndarray]) -> str:
        """Write a table, and return its path."""
        import pandas

        pandas.DataFrame(dict(columns)).to_csv(self.path / name, index=False)
        return self.file(name)


Build = Callable[[Room], list[str]]
"""Builds a set-up, and returns the words of the command after `didact doctor`."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """A set-up of the exam."""

    name: str
    kind: str
    build: Build
    says: str = ""
    """A regular expression that a warning or a failure must match; empty for a healthy set-up."""


def fault(kind: str, name: str, says: str) -> Callable[[Build], Build]:
    """Adds a set-up with a planted fault."""

    def add(build: Build) -> Build:
        QUESTIONS.append(Question(name=name, kind=kind, build=build, says=says))
        return build

    return add


def healthy(kind: str, name: str) -> Callable[[Build], Build]:
    """Adds a set-up without a fault."""
    return fault(kind, name, "")
