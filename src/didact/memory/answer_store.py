"""What a server answered, kept for good: nothing that was paid for is asked for twice, whoever is killed and when.

A store is a file of SQLite, which several threads and processes may share. It holds answers by the hash of what was
asked, facts about the server, and what has been spent. An amount is taken from the budget before a request is sent, and
put right when its answer is stored, so that a process that is killed in between has counted too much, never too little.
"""

import sqlite3
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from didact.errors import DataError

_TABLES = """
CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS spent (one INTEGER PRIMARY KEY, calls INTEGER, tokens INTEGER, money REAL);
INSERT OR IGNORE INTO spent VALUES (1, 0, 0, 0.0);
"""
_WAIT = 60.0
"""Seconds to wait for another process that is writing."""


@dataclass(frozen=True, slots=True)
class Spent:
    """An amount on the axes of a budget of requests; as a limit, infinite where there is none."""

    calls: float = 0
    """Requests, those that failed too."""
    tokens: float = 0
    """Tokens that the server read or wrote."""
    money: float = 0.0
    """In the unit of the prices."""

    def within(self, limit: "Spent") -> bool:
        """Whether it is no more than a limit on each axis."""
        return self.calls <= limit.calls and self.tokens <= limit.tokens and self.money <= limit.money


class AnswerStore:
    """Answers by the hash of what was asked.

    Args:
        path: the file, made if it is missing; None keeps everything in memory.

    Raises:
        DataError: it is no such file, or cannot be written.
    """

    def __init__(self, path: Path | None) -> None:
        self.path, self._lock = path, threading.Lock()
        with self._named():
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            where = ":memory:" if path is None else path
            # Each statement outside `_written` is a transaction of its own.
            self._base = sqlite3.connect(where, timeout=_WAIT, isolation_level=None, check_same_thread=False)
            self._close = weakref.finalize(self, self._base.close)
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.executescript(_TABLES)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Errors of the file, with its name."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise DataError(
                f"The answers in {self.path} cannot be read or written: {error}. Make room, or give another file as "
                "answers=FILE; what was stored before stays."
            ) from None

    @contextmanager
    def _written(self) -> Iterator[sqlite3.Connection]:
        """A transaction, which is on the disk afterwards."""
        with self._lock, self._named():
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield self._base
                self._base.execute("COMMIT")
            except BaseException:
                if self._base.in_transaction:
                    self._base.execute("ROLLBACK")
                raise

    def get(self, key: str) -> bytes | None:
        """An answer; None if there is none."""
        with self._lock, self._named():
            found = self._base.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()
        return None if found is None else found[0]

    def put(self, key: str, answer: bytes, correction: Spent) -> None:
        """Store an answer, and put right what was taken from the budget for it; it is on the disk afterwards."""
        with self._written() as base:
            base.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (key, answer))
            _add(base, correction)

    def take(self, amount: Spent, limit: Spent) -> bool:
        """Take an amount from the budget.

        Args:
            amount: what a request costs at most.
            limit: of all that is ever spent.

        Returns:
            Whether it fits; nothing is taken otherwise.
        """
        with self._written() as base:
            now = _spent(base)
            whole = Spent(now.calls + amount.calls, now.tokens + amount.tokens, now.money + amount.money)
            fits = whole.within(limit)
            if fits:
                _add(base, amount)
        return fits

    def correct(self, amount: Spent) -> None:
        """Add an amount to what is spent, or give it back where it is negative."""
        with self._written() as base:
            _add(base, amount)

    @property
    def spent(self) -> Spent:
        """All that was ever spent."""
        with self._lock, self._named():
            return _spent(self._base)

    def fact(self, name: str) -> str:
        """The value of a fact; empty if it is not known."""
        with self._lock, self._named():
            found = self._base.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return found[0] if found else ""

    def settle(self, name: str, value: str) -> str:
        """Give a fact a value, if it has none; returns the one that was given first, by whoever gave it."""
        with self._written() as base:
            base.execute("INSERT OR IGNORE INTO facts VALUES (?, ?)", (name, value))
            return base.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()[0]

    def __len__(self) -> int:
        """The number of answers."""
        with self._lock, self._named():
            return self._base.execute("SELECT count(*) FROM answers").fetchone()[0]


def _spent(base: sqlite3.Connection) -> Spent:
    return Spent(*base.execute("SELECT calls, tokens, money FROM spent").fetchone())


def _add(base: sqlite3.Connection, amount: Spent) -> None:
    base.execute(
        "UPDATE spent SET calls = calls + ?, tokens = tokens + ?, money = max(0.0, money + ?)",
        (amount.calls, amount.tokens, amount.money),
    )
