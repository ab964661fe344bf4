"""Other texts of a question to learn than its completion: explanations, critiques, mistakes."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import torch

from didact import hashing
from didact.errors import DataError, nearest
from didact.types import Question, Questions

COMPLETION = "completion"
"""The name of a question's own completion among its texts."""


def select_texts(questions: Questions, names: Sequence[str]) -> Questions:
    """Questions with the texts of some columns as their completions.

    Args:
        questions: N of them.
        names: of the texts: `completion`, and columns that each question keeps in `data`. Such a column holds another
            completion of the prompt, or a mapping of a `prompt` and its `completion`. A question without a text is left
            out for it.

    Returns:
        One question for each text, in the order of `names`. Those of columns have ids of their own.

    Raises:
        DataError: no question has a column, or one holds something else; the column is named.
    """
    if tuple(names) == (COMPLETION,):
        return questions
    items = [item for name in names for item in _texts(questions, name)]
    return dataclasses.replace(questions, items=tuple(items))


def _texts(questions: Questions, name: str) -> Iterator[Question]:
    if name == COMPLETION:
        yield from questions
        return
    having = [question for question in questions if question.data.get(name) is not None]
    if not having:
        known = [COMPLETION, *dict.fromkeys(column for question in questions for column in question.data)]
        raise DataError(f"texts has {name!r}, but no training question has such a column. {nearest(name, known)}")
    ids = hashing.keyed_hash(torch.tensor([question.id for question in having]), 0, f"text: {name}").tolist()
    for question, number in zip(having, ids, strict=True):
        yield dataclasses.replace(question, id=number, reply={}, **_fields(question, name))


def _fields(question: Question, name: str) -> dict[str, object]:
    """The prompt and the completion in a column."""
    given = question.data[name]
    if isinstance(given, str) and given:
        return {"completion": given}
    fields = ("prompt", COMPLETION)
    if isinstance(given, Mapping) and all(isinstance(given.get(field), str) and given[field] for field in fields):
        return {**{field: given[field] for field in fields}, "messages": ()}
    raise DataError(
        f"The column {name} of the question {question.prompt[:60]!r} is {given!r:.60}; to be learned, it must be a "
        "text, or a mapping with a prompt and its completion."
    )
