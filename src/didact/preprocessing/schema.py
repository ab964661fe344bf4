"""Reading preprocessing back from JSON that may have been written elsewhere."""

import dataclasses
import math
import typing
from collections.abc import Mapping

from didact.documents import Document
from didact.preprocessing.columns import Category, Date, Dropped, Number
from didact.preprocessing.inputs import ImagePreprocessing, TextPreprocessing
from didact.preprocessing.series import SeriesPreprocessing
from didact.preprocessing.table import TablePreprocessing

Preprocessing = TablePreprocessing | ImagePreprocessing | SeriesPreprocessing | TextPreprocessing
LONGEST = 10_000
"""Characters of a word."""
MOST = 1_000_000
"""Items of a list."""
_COLUMNS = {kind.kind: kind for kind in (Number, Category, Date, Dropped)}
_INPUTS = {"image": ImagePreprocessing, "series": SeriesPreprocessing, "text": TextPreprocessing}
T = typing.TypeVar("T")


def parse(document: object) -> Preprocessing:
    """Read what `describe` wrote.

    Args:
        document: as JSON has it.

    Raises:
        ValueError: it is something else, or beyond all measure; the message names what.
    """
    fields = _object(document)
    kind = fields.pop("kind", None)
    if isinstance(kind, str) and kind in _INPUTS:
        return _make(_INPUTS[kind], fields)
    if kind != "table" or set(fields) != {"columns", "missing"} or not isinstance(fields["columns"], list):
        raise ValueError(f"it is of the kind {kind!r:.50} with {', '.join(map(str, fields))[:100]}")
    if not len(fields["columns"]) <= MOST:
        raise ValueError("it has too many columns")
    columns = tuple(_column(column) for column in fields["columns"])
    words = typing.cast(tuple[str, ...], _value("missing", fields["missing"], tuple[str, ...]))
    return TablePreprocessing(columns, words)


def _column(document: object) -> Number | Category | Date | Dropped:
    fields = _object(document)
    kind = fields.pop("kind", None)
    if not isinstance(kind, str) or kind not in _COLUMNS:
        raise ValueError(f"a column is of the kind {kind!r:.50}")
    return _make(_COLUMNS[kind], fields)


def _object(document: object) -> Document:
    if not isinstance(document, Mapping):
        raise ValueError(f"it holds {document!r:.50} where an object belongs")
    return dict(document)


def _make(kind: type[T], fields: Document) -> T:
    """A dataclass from its fields, each of which must be there and of its type."""
    wanted = typing.get_type_hints(kind)
    names = {field.name for field in dataclasses.fields(kind) if field.init}  # pyright: ignore[reportArgumentType]
    if names != set(fields):
        raise ValueError(f"{', '.join(sorted(names ^ set(map(str, fields))))[:100]} is missing or unknown")
    return kind(**{name: _value(name, value, wanted[name]) for name, value in fields.items()})


def _value(name: str, value: object, kind: object) -> object:
    """A value of a type, with lists as tuples."""
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list) or len(value) > MOST:
            raise ValueError(f"{name} is {value!r:.50}, which is no list of at most {MOST:,}")
        return tuple(_value(name, item, typing.get_args(kind)[0]) for item in value)
    kinds = typing.get_args(kind) or (kind,)
    if type(value) is int and float in kinds and abs(value) < 2**1000:
        value = float(value)
    sound = type(value) in kinds or (value is None and type(None) in kinds)
    if isinstance(value, str):
        sound = sound and len(value) <= LONGEST
    elif isinstance(value, float):
        sound = sound and math.isfinite(value)
    if not sound:
        raise ValueError(f"{name} is {value!r:.50}")
    return value
