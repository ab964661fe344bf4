"""Layouts of language data: the fields that columns are, and the messages of conversations."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from didact.documents import Document, Values, parse_json
from didact.errors import DataError, check_choice, nearest

FIELDS = {
    "id": ("id",),
    "prompt": ("prompt", "question", "problem", "instruction"),
    "input": ("input",),
    "system": ("system",),
    "history": ("history",),
    "messages": ("messages", "conversation", "conversations"),
    "answer": ("answer", "ground_truth", "target"),
    "completion": ("completion", "response", "solution", "output"),
    "chosen": ("chosen",),
    "rejected": ("rejected",),
    "label": ("label",),
    "steps": ("completions",),
    "step_labels": ("labels",),
    "text": ("text",),
    "tools": ("tools",),
    "chat_template_kwargs": ("chat_template_kwargs",),
}
"""The usual column names of each field; the first is the field's own name."""
DATA = ("tests", "setup", "entry_point", "schema", "metadata", "rated", "rationales", "golden", "paraphrase", "forget")
"""The names that verifiers and methods read from `Question.data`; `columns` can rename columns to them."""
_ROLES = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "assistant", "chatgpt", "bing", "bard", "model"), "assistant"),
    **dict.fromkeys(("tool", "function", "observation", "function_response"), "tool"),
    "system": "system",
    "function_call": "function_call",
}
"""The roles of ShareGPT's speakers."""
_SEEN = ("image", "images", "video", "videos", "audio", "audios")
_SHOWN = 60


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The layout of a data set."""

    name: str
    """Its common name, such as `Alpaca`."""
    columns: Mapping[str, str]
    """The column of each field."""
    beside: tuple[str, ...]
    """The other columns."""

    def sentence(self, name: str, rows: int) -> str:
        """A sentence on the layout of a data set with a name and a number of rows."""
        unusual = [f"{field} from {column}" for field, column in self.columns.items() if field != column]
        words = f"{name} was read as {self.name}, {rows:,} row{'s' * (rows != 1)}"
        words += f" ({', '.join(unusual)})." if unusual else "."
        if self.beside:
            words += f" Other columns, kept for verifiers and methods: {', '.join(self.beside)}."
        return words


def rename_data(
    records: Iterable[Values], columns: Mapping[str, str], name: str
) -> tuple[Callable[[Values], Values], dict[str, str]]:
    """How to rename columns to the names that verifiers and methods read.

    Args:
        records: the rows.
        columns: the column of each field, or of each name in `DATA`.
        name: of the data set, for messages.

    Returns:
        A function of a row, and the entries of `columns` that are fields.

    Raises:
        ConfigError: `columns` names something that is neither a field nor in `DATA`.
        DataError: a column does not exist.
    """
    known = list(dict.fromkeys(column for record in records for column in record))
    for field, column in columns.items():
        check_choice("columns", field, (*FIELDS, *DATA))
        if column and column not in known:
            raise DataError(f"{name} has no column {column!r}, which is to be the {field}. {nearest(column, known)}")
    called = {column: field for field, column in columns.items() if field in DATA and column}

    def renamed(record: Values) -> Values:
        kept = (key for key in record if key in called or key not in called.values())
        return {called.get(key, key): record[key] for key in kept} if called else record

    return renamed, {field: column for field, column in columns.items() if field in FIELDS}


def is_language(columns: Iterable[str]) -> bool:
    """Whether columns of these names hold prompts or conversations."""
    return any(name in columns for field in ("prompt", "messages", "chosen") for name in FIELDS[field])


def find_layout(records: Sequence[Values], columns: Mapping[str, str], name: str) -> Layout:
    """Recognise the layout of rows.

    Args:
        records: the rows.
        columns: the columns of fields with other names; an empty name leaves the field out.
        name: of the data set, for messages.

    Raises:
        DataError: several columns may be the same field, or one has images, video or audio.
    """
    known = list(dict.fromkeys(column for record in records for column in record))
    found = _columns(columns, known, name)
    for field, fits in _KINDS.items():
        if field in found and field not in columns and not _all(records, found[field], fits):
            del found[field]
    found = _without_doubtful(found, columns, records)
    if seen := [column for column in _SEEN if column in known and any(record.get(column) for record in records)]:
        raise DataError(
            f"{name} has the column {seen[0]!r}, but didact's language models read only text; remove the column, or "
            "the rows that need it."
        )
    used = set(found.values())
    return Layout(
        name=_name(found, records), columns=found, beside=tuple(column for column in known if column not in used)
    )


def _columns(wanted: Mapping[str, str], known: list[str], name: str) -> dict[str, str]:
    """The column of each field."""
    found = {}
    for field, usual in FIELDS.items():
        present = [column for column in usual if column in known and column not in wanted.values()]
        if field in wanted:
            present = [wanted[field]] if wanted[field] else []
        if len(present) > 1 and present[0] != field:
            raise DataError(
                f"{name} has the columns {' and '.join(present)}, each of which may be the {field}; say which, as "
                f'columns={{"{field}": "{present[0]}"}}.'
            )
        if present:
            found[field] = present[0]
    return found


def _all(records: Iterable[Values], column: str, fits: Callable[[Any], bool]) -> bool:
    given = (record[column] for record in records if record.get(column) is not None)
    first = next(given, None)
    return first is not None and fits(first) and all(map(fits, given))


_KINDS: dict[str, Callable[[Any], bool]] = {
    "input": lambda value: isinstance(value, str),
    "system": lambda value: isinstance(value, str),
    "history": lambda value: isinstance(value, list) and all(isinstance(turn, list) for turn in value),
    "label": lambda value: isinstance(value, bool),
    "text": lambda value: isinstance(value, str),
    "steps": lambda value: isinstance(value, list) and all(isinstance(step, str) for step in value),
    "step_labels": lambda value: isinstance(value, list) and all(isinstance(label, int | float) for label in value),
    "tools": lambda value: isinstance(value, list | str),
    "chat_template_kwargs": lambda value: isinstance(value, Mapping),
}
"""What the values of these fields are; verifiers may use columns of the same names for other things."""


def _without_doubtful(found: dict[str, str], wanted: Mapping[str, str], records: Sequence[Values]) -> dict[str, str]:
    """The fields without those that mean something else next to others, such as `input` and `text`."""
    asked = found.keys() & {"prompt", "messages", "chosen"}
    chosen = next((record.get(found["chosen"]) for record in records), None) if "chosen" in found else None
    doubtful = {
        "input": found.get("prompt") != "instruction" and found.get("completion") != "output",
        "text": bool(asked),
        "label": "completion" not in found or "rejected" in found,
        "history": "prompt" not in found,
        "steps": "step_labels" not in found or "completion" in found or "chosen" in found,
        "step_labels": "steps" not in found or "completion" in found or "chosen" in found,
        "messages": isinstance(chosen, list) and len(chosen) > 1,
    }
    return {field: column for field, column in found.items() if field in wanted or not doubtful.get(field)}


def _name(found: Mapping[str, str], records: Sequence[Values]) -> str:
    """The common name of the layout."""
    tools = " with tools" if "tools" in found else ""
    if "rejected" in found:
        return f"preference{tools}"
    if "steps" in found:
        return "stepwise supervision"
    if "label" in found:
        return f"unpaired preference (KTO){tools}"
    if "completion" not in found and "messages" in found:
        spoken = next((r[found["messages"]] for r in records if r.get(found["messages"])), None)
        first = spoken[0] if isinstance(spoken, list) else None
        return ("ShareGPT" if isinstance(first, Mapping) and "from" in first else "messages") + tools
    if found.get("prompt") == "instruction" or "input" in found:
        return f"Alpaca{tools}"
    if "text" in found:
        return "text"
    return ("prompt and completion" if "completion" in found else "prompts") + tools


def read_messages(value: object, where: str) -> tuple[Document, ...]:
    """The messages of a conversation, also of ShareGPT.

    Args:
        value: a list of messages with `role` and `content`, or with `from` and `value`.
        where: the row, for errors.

    Returns:
        Each message with `role`, `content` (a string, possibly empty next to tool calls) and its other keys, without
        None, with which tables fill missing keys. Arguments of tool calls are parsed from JSON.

    Raises:
        DataError: it is no conversation.
    """
    if not isinstance(value, list) or not value or not all(isinstance(message, Mapping) for message in value):
        raise _no_conversation(value, where)
    return tuple(_message(message, value, where) for message in value)


def _no_conversation(value: object, where: str) -> DataError:
    return DataError(
        f"{where} has {quote(json.dumps(value, default=str))} where a conversation should be: a list of messages, "
        'each with two strings, as {"role": "user", "content": "37+85="}.'
    )


def _message(message: Values, whole: object, where: str) -> Document:
    given = {str(key): item for key, item in message.items() if item is not None}
    if "from" in given and "value" in given:
        given = _share_gpt(given, where)
    role, content, calls = given.pop("role", None), given.pop("content", None), given.pop("tool_calls", None)
    if given.pop("weight", 1) != 1:
        raise DataError(
            f"{where} has a message of weight {message['weight']!r}; didact has no weights of messages. Remove the "
            "row, or the weight."
        )
    if isinstance(content, list) and all(isinstance(p, Mapping) and isinstance(p.get("text"), str) for p in content):
        content = "".join(part["text"] for part in content)
    read = {} if not calls else {"tool_calls": [_call(call, where) for call in _listed(calls, "tool_calls", where)]}
    if content is None and read:
        content = ""
    if not isinstance(role, str) or not isinstance(content, str):
        raise _no_conversation(whole, where)
    return {"role": role, "content": content, **read, **_pruned(given)}


def _share_gpt(given: Document, where: str) -> Document:
    """A message of ShareGPT as one of `role` and `content`."""
    speaker, value = given.pop("from"), given.pop("value")
    if not isinstance(speaker, str) or speaker not in _ROLES:
        raise DataError(f"{where} has a message from {speaker!r}, which is unknown. {nearest(str(speaker), _ROLES)}")
    if _ROLES[speaker] == "function_call":
        return {"role": "assistant", "content": "", "tool_calls": value, **given}
    return {"role": _ROLES[speaker], "content": value, **given}


def _listed(value: object, what: str, where: str) -> list[Any]:
    """A list of objects, or one as JSON."""
    try:
        found = parse_json(value) if isinstance(value, str) else value
    except ValueError as error:
        raise DataError(f"{where} has {what} that are no JSON: {error}; correct or remove them.") from None
    found = [found] if isinstance(found, Mapping) else found
    if not isinstance(found, list) or not all(isinstance(one, Mapping) for one in found):
        raise DataError(f"{where} has the {what} {quote(repr(value))}; they must be a list of objects.")
    return found


def _call(call: Values, where: str) -> Document:
    """A tool call with its arguments as an object, as chat templates expect them."""
    made = _pruned(call)
    inner = made["function"] if isinstance(made.get("function"), dict) else made
    if not isinstance(inner.get("name"), str):
        raise DataError(f"{where} has the tool call {quote(repr(call))}, without the name of a tool.")
    if isinstance(inner.get("arguments"), str):
        try:
            inner["arguments"] = parse_json(inner["arguments"])
        except ValueError:
            raise DataError(
                f"{where} has a call of {inner['name']!r} whose arguments are no JSON: {quote(inner['arguments'])}."
            ) from None
    return made


def read_tools(value: object, where: str) -> tuple[Document, ...]:
    """The schemas of tools, from a list or from JSON.

    Raises:
        DataError: they are no list of objects.
    """
    return () if value is None else tuple(_pruned(tool) for tool in _listed(value, "tools", where))


def _pruned(value: Values) -> Document:
    """A copy without None, at any depth."""
    return {str(key): _kept(item) for key, item in value.items() if item is not None}


def _kept(item: Any) -> Any:
    if isinstance(item, Mapping):
        return _pruned(item)
    return [_kept(one) for one in item] if isinstance(item, list) else item


def quote(text: str) -> str:
    """The beginning of a text, quoted, for errors."""
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
