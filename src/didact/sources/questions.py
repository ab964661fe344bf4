"""Questions for language models: read from files and data sets, split, and told apart."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from didact import hashing
from didact.documents import Document, Values
from didact.errors import ConfigError, DataError, import_optional, nearest
from didact.sources import hub, stored, tables
from didact.sources.ids import hash_ids
from didact.sources.layouts import find_layout, quote, read_messages, read_tools, rename_data
from didact.sources.splitting import Duplicate, assign_splits, find_shared
from didact.sources.steps import step_ends
from didact.sources.stored import each
from didact.types import Lazy, Question, Questions, StepRewards

"""The endings of JSON lines."""


def load_questions(
    path: str | Path, *, columns: Mapping[str, str] | None = None, split: str | None = None
) -> Questions:
    """Read questions from JSON lines, Parquet or a Hugging Face data set.

    The prompt is a string (`prompt`) or a conversation: a list of messages with `role` and `content` (in ShareGPT,
    `from` and `value`), in the column `messages` or `prompt`. The last message of a conversation is the completion if
    it is the assistant's. A pair is two strings, `chosen` and `rejected`, or two conversations that differ only in
    their last message; a `label` of true or false marks a completion as desirable or not. Alpaca's `input` is appended
    to the `instruction` after an empty line; `system`, `history` and `tools` make a conversation of a prompt. A `text`
    is a completion with an empty prompt. In stepwise supervision, `completions` is a list of steps, each of which is
    made a line of the completion, and `labels` a list with true, false or a number from 0 to 1 for each. Where columns
    overlap, a pair has priority, then `completion`, then `messages`, then `prompt`. Other columns are kept in `data`.

    Without a column `id`, ids are hashes of the contents, so that they survive another order and added rows, and equal
    rows have equal ids.

    The rows of a file (or a data set) of more than `didact.sources.stored.HELD` bytes stay on the disk.

    Args:
        path: a `.jsonl`, `.ndjson` or `.parquet` file, or `hf:` and the name or directory of a data set.
        columns: the column of each field, where it has an unusual name; the fields are those of
            `didact.sources.layouts.FIELDS` and `DATA`. An empty name leaves a field out.
        split: which part of a Hugging Face data set.

    Returns:
        The questions, in their order; `layouts` says how they were read.

    Raises:
        DataError: the file cannot be read, or a row of it is no question; the file, the line and the columns that there
            are are named.
        ConfigError: an option that means nothing here.
        MissingExtraError: pyarrow or datasets is not installed.
    """
    name, rows = _rows(str(path), split)
    return _questions(name, rows, columns or {})


def from_records(
    records: Iterable[Values],
    *,
    columns: Mapping[str, str] | None = None,
    name: str = "records",
    verifier: str = "",
) -> Questions:
    """Make questions of mappings, as they would stand on the lines of a file; see `load_questions`.

    Args:
        records: each with a `prompt` or `messages`, and with an `answer`, a `completion` and so on where there is one.
        columns: the key of each field, where it has an unusual name.
        name: what they are called in messages.
        verifier: the one that suits them, by its spec.

    Returns:
        The questions, in their order.

    Raises:
        DataError: there are none, or one is no question; it is named by its number, from 1 on.
        ConfigError: `columns` names a field that there is not.
    """
    rows = list[tuple[str, Document]]()
    for number, record in enumerate(records, 1):
        where = f"{name}, record {number}"
        if not isinstance(record, Mapping):
            raise DataError(
                f"{where} is {quote(repr(record))}, of type {type(record).__name__}; it must be a mapping with "
                "a prompt, such as {'prompt': '37+85=', 'answer': '122'}."
            )
        rows.append((where, {str(key): value for key, value in record.items()}))
    if not rows:
        raise DataError(f"{name} has no questions.")
    return dataclasses.replace(_questions(name, rows, columns or {}), verifier=verifier)


def _questions(name: str, rows: Sequence[tuple[str, Document]], columns: Mapping[str, str]) -> Questions:
    """The questions in rows; each row comes with its place, for errors."""
    rename, columns = rename_data(each(lambda row: row[1], rows), columns, name)
    named = each(lambda row: (row[0], rename(row[1])), rows)
    records = each(lambda row: row[1], named)
    layout = find_layout(records, columns, name)
    items = each(lambda row: Question(id=0, **_question(row[1], layout.columns, row[0])), named)
    if "id" in layout.columns:
        values = np.array([record.get(layout.columns["id"]) for record in records] + [None], dtype=object)[:-1]
        ids = hash_ids(values, layout.columns["id"], 'Give columns={"id": ""} to name rows by their contents.')
    else:
        ids = _contents(items)
    sentence = layout.sentence(name, len(rows))
    if not isinstance(items, Lazy):
        numbered = (dataclasses.replace(item, id=i) for item, i in zip(items, ids.tolist(), strict=True))
        return Questions(items=tuple(numbered), name=name, layouts=(sentence,))
    numbers, make = ids.numpy(), items.make
    lazy = Lazy(lambda i: dataclasses.replace(make(i), id=int(numbers[i])), items.places)
    return Questions(items=lazy, name=name, layouts=(f"{sentence} Rows stay on the disk.",))


def split_questions(
    questions: Questions, *, validation: float = 0.1, test: float = 0.2, seed: int = 0
) -> tuple[Questions, Questions, Questions]:
    """Split by a keyed hash of what is asked, as `sources.split` does.

    Neither another order nor added questions move one, and those that ask the same are never split apart, whatever
    their ids are. If there are so few that a split would be empty, it gets the nearest one.

    Args:
        questions: N of them.
        validation: fraction in [0, 1).
        test: fraction in [0, 1); the two add up to less than 1.
        seed: any integer.

    Returns:
        The training, validation and test questions, each in their order.

    Raises:
        ConfigError: fractions out of range.
        DataError: a split that should not be empty is.
    """
    masks = assign_splits(_asked(questions.items), validation=validation, test=test, seed=seed, fill=True)
    train, held_out, last = (questions.select(mask.nonzero()[:, 0].numpy()) for mask in masks)
    return train, held_out, last


def find_duplicate_questions(splits: Mapping[str, Questions]) -> list[Duplicate]:
    """Find prompts and conversations that lie in more than one split.

    Args:
        splits: the questions of each split, by its name.

    Returns:
        One for every pair of splits and everything that both ask.
    """
    return find_shared({name: (_asked(part.items), _ids(part)) for name, part in splits.items() if len(part)})


def fingerprint_questions(questions: Questions) -> str:
    """A hash of all questions, with their ids and everything known of them, that no other order changes.

    Returns:
        32 hexadecimal digits.
    """
    rows = torch.stack([_ids(questions), _contents(questions.items)], 1)
    digest = hashlib.blake2b(b"questions", digest_size=16)
    if len(questions):
        digest.update(hashing.of_rows(rows).sort().values.numpy().tobytes())
    return digest.hexdigest()


def _ids(questions: Questions) -> Tensor:
    return torch.from_numpy(np.fromiter((question.id for question in questions), np.int64, len(questions)))


def _asked(items: Sequence[Question]) -> Tensor:
    """Hashes of what is asked alone, or of a text, which asks nothing; int64 [N]."""
    asked = ([list(map(dict, q.messages)) or q.prompt or ["", q.completion]] for q in items)
    return hashing.of_strings(json.dumps(row) for row in asked)


def content_hashes(questions: Questions) -> Tensor:
    """Hashes of everything but the ids; int64 [N]."""
    return _contents(questions.items)


def _contents(items: Sequence[Question]) -> Tensor:
    """Hashes of everything but the ids; int64 [N]."""
    rows = (
        [q.prompt, list(map(dict, q.messages)), q.answer, q.completion, q.rejected, dict(q.data), *_rarer(q)]
        for q in items
    )
    return hashing.of_strings(json.dumps(row, sort_keys=True, default=str) for row in rows)


def _rarer(question: Question) -> list[Document]:
    """What few questions have; none for the others, so that their hashes stay what they were."""
    found = {"tools": list(question.tools), "reply": dict(question.reply), "label": question.label}
    found["steps"] = list(question.steps)
    given = {name: value for name, value in found.items() if value not in ([], {}, None)}
    return [given] if given else []


def _rows(path: str, split: str | None) -> tuple[str, Sequence[tuple[str, Document]]]:
    """The name of the data, and each row with the words for where it is."""
    if path.startswith("hf:"):
        name = path.removeprefix("hf:")
        data = hub.open_split(name, split)
        rows = stored.stored_dataset(name, data)
        if data.data.nbytes <= stored.HELD:
            rows = list(rows)
    elif split is not None:
        raise ConfigError(f"split is {split!r}, but {path} is a file, for which it means nothing; leave out split.")
    else:
        name, rows = Path(path).name, _file_rows(Path(path))
    if not rows:
        raise DataError(f"{name} has no questions.")
    return name, rows


def _file_rows(path: Path) -> Sequence[tuple[str, Document]]:
    if not path.is_file():
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"There is no file {str(path)!r}. {nearest(path.name, siblings[:1000])}")
    large = path.stat().st_size > stored.HELD
    if tables.kind_of(path) in tables.LINES:
        if large:
            return stored.stored_lines(path)
        return [(f"{path.name}, line {number}", record) for number, record in tables.read_lines(path)]
    if path.suffix.lower() != ".parquet":
        raise DataError(
            f"{path.name} is of a kind that holds no questions; didact reads them from {', '.join(tables.LINES)} and "
            ".parquet files, and from hf:NAME."
        )
    if large:
        return stored.stored_parquet(path)
    parquet = import_optional("pyarrow.parquet", "data", f"Reading {path.name}")
    try:
        records = parquet.read_table(path).to_pylist()
    except (ValueError, OSError) as error:
        raise DataError(f"{path.name} is not a readable Parquet file: {error}") from error
    return [(f"{path.name}, row {number}", record) for number, record in enumerate(records, 1)]


def _question(record: Values, columns: Mapping[str, str], where: str) -> Document:
    """A row as the fields of a `Question`, without its id."""
    given = {field: record[column] for field, column in columns.items() if record.get(column) is not None}
    better, worse = given.get("chosen", given.get("completion")), given.get("rejected")
    if ("chosen" in given or worse is not None) and (better is None or worse is None):
        missing = "rejected" if worse is None else "chosen"
        raise DataError(f"{where} has only one answer of a pair; give {missing} too, or none.")
    messages, better, worse = _conversation(given, better, worse, where)
    completion, reply = _said(better, "completion", where)
    rejected, other = _said(worse, "rejected", where)
    if rejected is not None and (reply or other):
        raise DataError(
            f"{where} has a pair with {' and '.join({**reply, **other})}, of which methods would learn the words "
            "alone; leave such rows out."
        )
    steps: StepRewards = ()
    if "steps" in given:
        completion, steps = _stepwise(given, where)
    if "text" in given:
        completion = _said(given["text"], "text", where)[0]
    used = set(columns.values())
    answer = given.get("answer")
    return {
        "prompt": _joined(messages) if messages else "" if "text" in given else _prompt(given, record, where),
        "messages": messages,
        "tools": read_tools(given.get("tools"), where),
        "template": dict(given.get("chat_template_kwargs", {})),
        "answer": answer if answer is None or isinstance(answer, str) else json.dumps(answer, default=str),
        "completion": completion,
        "reply": reply,
        "rejected": rejected,
        "steps": steps,
        "label": given.get("label"),
        "data": {key: value for key, value in record.items() if key not in used and value is not None},
    }


def _joined(messages: Iterable[Values]) -> str:
    return "\n".join(message["content"] for message in messages)


def _conversation(
    given: Values, better: object, worse: object, where: str
) -> tuple[tuple[Document, ...], object, object]:
    """The messages of the prompt (none for a plain one), and the completions, as strings or messages."""
    start: tuple[Document, ...] = ()
    if isinstance(better, list):
        start, better = _answered(better, where)
        if worse is not None:
            beginning, worse = _answered(worse, where)
            if beginning != start:
                raise DataError(f"{where} has a pair of conversations that differ in more than their last message.")
    if start:
        return _begun(start, given), better, worse
    if "messages" in given:
        messages = read_messages(given["messages"], where)
        if messages[-1]["role"] == "assistant":
            messages, answer = messages[:-1], messages[-1]
            better = answer if better is None else better
    elif isinstance(given.get("prompt"), list):
        messages = read_messages(given["prompt"], where)
    elif any(given.get(field) for field in ("system", "history", "tools")):
        messages = (*_earlier(given, where), {"role": "user", "content": _prompt(given, given, where)})
    else:
        return (), better, worse
    if not messages:
        raise DataError(f"{where} has a conversation with an answer alone; give what is asked, too.")
    return _begun(messages, given), better, worse


def _begun(messages: tuple[Document, ...], given: Values) -> tuple[Document, ...]:
    """The messages, with that of the column `system` in front unless they have one."""
    if not given.get("system") or messages[0]["role"] == "system":
        return messages
    return ({"role": "system", "content": given["system"]}, *messages)


def _earlier(given: Values, where: str) -> tuple[Document, ...]:
    """The turns of a column `history`, pairs of a user's and an assistant's message."""
    turns = given.get("history") or []
    if not all(len(turn) == 2 and all(isinstance(words, str) for words in turn) for turn in turns):
        raise DataError(f"{where} has a history that is no list of pairs of strings; correct or remove it.")
    roles = ("user", "assistant")
    return tuple({"role": role, "content": words} for turn in turns for role, words in zip(roles, turn, strict=True))


def _answered(value: object, where: str) -> tuple[tuple[Document, ...], Document]:
    """A conversation before its last message, and that; it must be an assistant's."""
    messages = read_messages(value, where)
    if messages[-1]["role"] != "assistant":
        raise DataError(f"{where} has an answer whose last message is of {messages[-1]['role']!r}, not 'assistant'.")
    return messages[:-1], messages[-1]


def _prompt(given: Values, record: Values, where: str) -> str:
    prompt = given.get("prompt", given.get("input"))
    if prompt is None:
        raise DataError(
            f"{where} has no prompt; its columns are {', '.join(map(str, record)) or 'none'}. Say which holds it, as "
            'columns={"prompt": NAME}.'
        )
    if not isinstance(prompt, str) or not prompt.strip():
        raise DataError(f"{where} has the prompt {prompt!r}; it must be a string that is not empty, or messages.")
    further = given.get("input", "") if "prompt" in given else ""
    return f"{prompt}\n\n{further}" if further.strip() else prompt


def _stepwise(given: Values, where: str) -> tuple[str, StepRewards]:
    """A completion whose lines are the steps, and the labels of these."""
    steps, labels = given["steps"], given.get("step_labels") or []
    if not steps or len(steps) != len(labels) or not all(0 <= label <= 1 for label in labels):
        raise DataError(
            f"{where} has {len(steps)} steps with the labels {quote(json.dumps(labels))}; give each step one: true, "
            "false, or a number from 0 to 1."
        )
    if blank := [step for step in steps if not step.strip()]:
        raise DataError(f"{where} has the step {blank[0]!r}; leave out steps without words.")
    text = "\n".join(" ".join(step.split("\n")) for step in steps)
    return text, tuple(zip(step_ends(text), map(float, labels), strict=True))


def _said(value: object, field: str, where: str) -> tuple[str | None, Document]:
    """The content of a completion, and the other keys of its message."""
    if isinstance(value, dict):
        return value["content"], {key: item for key, item in value.items() if key not in ("role", "content")}
    if value is not None and not isinstance(value, str):
        raise DataError(f"{where} has the {field} {quote(repr(value))}; it must be a string, or messages.")
    return value, {}
