"""Small questions about a table, and the queries that answer them."""

import contextlib
import functools
import itertools
import re
import sqlite3
from collections.abc import Collection, Iterator, Sequence

import torch

from didact.types import Question, Questions
from didact.worlds._asking import questions_of
from didact.worlds._chance import uniform

_ROWS = tuple((i % 4, 7 * i % 10, 3 * i * i % 10) for i in range(12))
"""The table `t` with the columns a, b and c."""
_COLUMNS, _SIGNS, _DIGITS = "abc", "<>=", 10
_FUNCTIONS = ("max", "min", "sum", "count")
_LONGEST, _OPERATIONS = 100, 20_000
_READING = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION}


@functools.cache
def sql() -> Questions:
    """Write the query that answers a small question about a table.

    Real: SQL, as sqlite runs it.

    Simulated: the table, of twelve rows with the columns a, b and c, and the questions: all 1,080 of a function of a
    column where another one is compared with a digit.

    Known: a query for every question, and its result. The prompt is `max b where a>2;` and both the answer and the
    completion are `select max(b) from t where a>2`. A query with the same result on the table is right, however it is
    written.

    Returns:
        1,080 questions, in random order; `data` has the `result` as text. The verifier is `execution`, of this module;
        `schema`, `bigrams` and `syntax` are partial rewards.
    """
    asked = [
        (function, column, where, sign, digit)
        for function in _FUNCTIONS
        for column in _COLUMNS
        for where in _COLUMNS
        for sign in _SIGNS
        for digit in range(_DIGITS)
    ]
    order = uniform(torch.arange(len(asked)), 1, 0, "strings:sql")[:, 0].argsort().tolist()
    items = (_question(*asked[place]) for place in order)
    return questions_of(items, name="strings:sql", verifier="didact.worlds.strings.sql:execution")


def _question(function: str, column: str, where: str, sign: str, digit: int) -> Question:
    query = f"select {function}({column}) from t where {where}{sign}{digit}"
    data = {"result": run(query)}
    return Question(
        id=0, prompt=f"{function} {column} where {where}{sign}{digit};", answer=query, completion=query, data=data
    )


def run(query: str) -> str | None:
    """The result of a query on the table as text; None if it fails, writes, or takes too long."""
    if len(query) > _LONGEST:
        return None
    with contextlib.closing(sqlite3.connect(":memory:")) as base:
        base.execute("create table t (a integer, b integer, c integer)")
        base.executemany("insert into t values (?, ?, ?)", _ROWS)
        base.set_authorizer(lambda act, *_: sqlite3.SQLITE_OK if act in _READING else sqlite3.SQLITE_DENY)
        base.set_progress_handler(lambda: 1, _OPERATIONS)
        with contextlib.suppress(sqlite3.Error, sqlite3.Warning):
            return str(base.execute(query).fetchmany(len(_ROWS)))
    return None


def execution(text: str, question: Question) -> float:
    """1 if a query has the result of the reference on the table, else 0."""
    return float(question.data["result"] is not None and run(text) == question.data["result"])


def syntax(text: str, _question: Question) -> float:
    """1 if a query can be run, else 0."""
    return float(run(text) is not None)


def schema(text: str, question: Question) -> float:
    """The Jaccard similarity of the columns and tables that a query and the reference name, in [0, 1]."""
    return _jaccard(*(set(re.findall(r"\b[a-z]\b", query.lower())) for query in (text, question.answer or "")))


def bigrams(text: str, question: Question) -> float:
    """The Jaccard similarity of the pairs of neighbouring words and signs of a query and the reference, in [0, 1]."""
    return _jaccard(*(set(_pairs(_words(query))) for query in (text, question.answer or "")))


def _words(query: str) -> list[str]:
    return re.findall(r"[a-z]+|\d+|[^\sa-z\d]", query.lower())


def _pairs(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    return itertools.pairwise(words)


def _jaccard(first: Collection[object], second: Collection[object]) -> float:
    both = {*first} & {*second}
    return len(both) / max(len({*first, *second}), 1)
