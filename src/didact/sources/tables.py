"""Reading tables: CSV, Parquet, Feather and JSON lines become one kind of data frame, with a mark for missing cells."""

import codecs
import gzip
import itertools
import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any

from didact.documents import Document, parse_json
from didact.errors import DataError, import_optional
from didact.preprocessing.cells import Column, Frame, date_of, number_of
from didact.sources import delimited

SUFFIXES = (".csv", ".tsv", ".parquet", ".feather", ".jsonl", ".ndjson")
"""The files that are tables, in lower case; those of text may be compressed, as `.csv.gz`."""
LINES = (".jsonl", ".ndjson")
"""The files of JSON lines."""
_TEXT = (*delimited.SEPARATORS, *LINES)
_RISING = 8
"""Numbers in rising order of which a first line is taken for names, such as wavelengths."""


def kind_of(path: Path) -> str:
    """Which of `SUFFIXES` a file has, without `.gz` and in lower case; the suffix itself where it is none of them."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    return suffixes[0] if len(suffixes) > 1 and suffixes[1] == ".gz" and suffixes[0] in _TEXT else path.suffix.lower()


def is_table(path: Path) -> bool:
    """Whether a file is one of `SUFFIXES`, by its name."""
    return kind_of(path) in SUFFIXES


def read(path: Path) -> tuple[Frame, tuple[str, ...]]:
    """Read a table.

    Args:
        path: with one of `SUFFIXES`.

    Returns:
        A pandas data frame of nullable types: booleans, integers, floats and strings; and what was decided about the
        file, as sentences. Only empty cells are missing; what `NA` means is for whoever knows what the column is. An
        unnamed first column of different integers, as pandas writes its index, is left out. Digits that begin with a
        zero stay strings.

    Raises:
        DataError: the file cannot be read, has no rows, or has several columns of one name.
        MissingExtraError: pandas or pyarrow is not installed.
    """
    notes: tuple[str, ...] = ()
    try:
        if kind_of(path) in LINES:
            frame = from_records([record for _, record in read_lines(path)])
        elif kind_of(path) == ".parquet":
            frame = from_arrow(import_optional("pyarrow.parquet", "data", f"Reading {path.name}").read_table(path))
        elif kind_of(path) == ".feather":
            frame = from_arrow(import_optional("pyarrow.feather", "data", f"Reading {path.name}").read_table(path))
        else:
            dialect = find_dialect(path)
            frame = _read_delimited(path, dialect)
            if (dialect.separator, dialect.encoding) != (dialect.usual, "utf-8"):
                notes = dialect.notes(path.name)
    except (ValueError, OSError) as error:
        raise unreadable(path, error) from error
    if not len(frame):
        raise DataError(f"{path.name} has no rows.")
    return frame, notes


def read_texts(path: Path) -> Frame:
    """The lines of a text file that are not empty, as the column `text`.

    Raises:
        DataError: it is not UTF-8, or has none.
    """
    pandas = import_optional("pandas", "data", f"Reading {path.name}")
    try:
        lines = [line for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise unreadable(path, error) from error
    if not lines:
        raise DataError(f"{path.name} has no rows.")
    return pandas.DataFrame({"text": pandas.Series(lines, dtype="string")})


def read_chunks(path: Path, rows: int, words: Collection[str]) -> Iterator[Frame]:
    """Read a table a part at a time, so that no more than that is in memory.

    Args:
        path: with one of `SUFFIXES`.
        rows: of a part, about.
        words: columns whose cells are to be read as they are written; the others are read as in `read`.

    Yields:
        Data frames as `read` gives them, at least one.

    Raises:
        DataError: see `read`.
    """
    first = 0
    try:
        for part in _parts(path, rows, words):
            part.index = range(first, first + len(part))
            first += len(part)
            if len(part):
                yield part
    except (ValueError, OSError) as error:
        raise unreadable(path, error) from error
    if not first:
        raise DataError(f"{path.name} has no rows.")


def _parts(path: Path, rows: int, words: Collection[str]) -> Iterator[Frame]:
    pyarrow = import_optional("pyarrow", "data", f"Reading {path.name}")
    if kind_of(path) in LINES:
        records = (record for _, record in lines_of(path))
        while some := list(itertools.islice(records, rows)):
            yield from_records(some)
    elif kind_of(path) == ".feather":
        whole = import_optional("pyarrow.feather", "data", f"Reading {path.name}").read_table(path, memory_map=True)
        for start in range(0, len(whole), rows):
            yield from_arrow(whole[start : start + rows])
    elif kind_of(path) == ".parquet":
        parquet = import_optional("pyarrow.parquet", "data", f"Reading {path.name}")
        for batch in parquet.ParquetFile(path).iter_batches(batch_size=rows):
            yield from_arrow(pyarrow.Table.from_batches([batch]))
    else:
        blocks = delimited.read_word_parts(path, find_dialect(path))
        for some in _gathered(blocks, rows):
            yield _narrowed(some, words)


def _gathered(blocks: Iterator[Any], rows: int) -> Iterator[list[Any]]:
    """Blocks of rows in lists of about so many rows."""
    held: list[Any] = []
    for block in blocks:
        held.append(block)
        if sum(map(len, held)) >= rows:
            yield held
            held = []
    if held:
        yield held


def find_dialect(path: Path) -> delimited.Dialect:
    """How a table of text is written.

    Raises:
        ValueError: see `delimited.find_dialect`.
        DataError: its first line holds the same name twice, or numbers in the place of names.
    """
    found = delimited.find_dialect(path, kind_of(path))
    if any(map(str.isdigit, "".join(found.names))) and is_row(found.names):
        raise DataError(
            f"{path.name} has no names in its first line, but {', '.join(found.names)[:60]}; put a line with a name "
            "for each column in front of it."
        )
    if len(set(found.names)) < len(found.names):
        refuse_repeated(found.names, path.name)
    return found


def is_row(names: Sequence[str]) -> bool:
    """Whether a first line holds numbers and dates as a row does, and no names such as 0, 1, 2 or wavelengths."""
    numbers = [number_of(name) for name in names]
    known = [number for number in numbers if number is not None]
    rising = all(one < other for one, other in itertools.pairwise(known))
    consecutive = rising and len(known) == len(names) and known[-1] - known[0] == len(known) - 1
    if consecutive or (rising and len(known) >= _RISING):
        return False
    fractions = any(not number.is_integer() for number in known)
    return (
        fractions
        or len(known) == len(names)
        or any(name[:4].isdigit() and str(date_of(name)) != "NaT" for name in names)
    )


def _read_delimited(path: Path, dialect: delimited.Dialect) -> Frame:
    """A table of text, without the index that pandas wrote."""
    table = delimited.read_words(path, dialect, gaps=True)
    if not dialect.names[0]:
        index = delimited.narrow(table.column(0))
        if str(index.type) == "int64" and len(index.unique()) == len(index):
            table = table.remove_column(0)
    if "" in table.column_names:
        position = len(dialect.names) - len(table.column_names) + table.column_names.index("") + 1
        raise DataError(f"{path.name} has no name for column {position}; name it in the first line, or remove it.")
    return _narrowed([table], ())


def _narrowed(parts: list[Any], words: Collection[str]) -> Frame:
    """Parts of a table of strings as a data frame, whose columns get the narrowest type unless they are to stay words.

    Args:
        parts: emptied, so that each column is dropped once it has become another.
        words: names.
    """
    pyarrow = import_optional("pyarrow", "data", "Reading a table")
    table, columns = pyarrow.concat_tables(parts), dict[str, Any]()
    parts.clear()
    while table.num_columns:
        name, column = table.column_names[0], table.column(0)
        table = table.remove_column(0)
        if name:
            columns[name] = column if name in words else delimited.narrow(column)
    return from_arrow(pyarrow.table(columns))


def from_arrow(table: Any) -> Frame:
    """Turn a pyarrow table into such a data frame."""
    if len(set(table.column_names)) < len(table.column_names):
        refuse_repeated(table.column_names, "The table")
    pandas, pyarrow = (
        import_optional("pandas", "data", "Reading a table"),
        import_optional("pyarrow", "data", "Reading a table"),
    )
    nullable = {
        pyarrow.bool_(): pandas.BooleanDtype(),
        pyarrow.string(): pandas.StringDtype(),
        pyarrow.large_string(): pandas.StringDtype(),
        pyarrow.float32(): pandas.Float32Dtype(),
        pyarrow.float64(): pandas.Float64Dtype(),
        **{getattr(pyarrow, f"int{bits}")(): getattr(pandas, f"Int{bits}Dtype")() for bits in (8, 16, 32, 64)},
        **{getattr(pyarrow, f"uint{bits}")(): getattr(pandas, f"UInt{bits}Dtype")() for bits in (8, 16, 32, 64)},
    }
    frame = table.to_pandas(types_mapper=nullable.get)
    named_index = [name for name in frame.index.names if name is not None]
    return frame.reset_index(level=named_index).reset_index(drop=True) if named_index else frame.reset_index(drop=True)


def unreadable(path: Path, error: Exception) -> DataError:
    """What is wrong with a file, as a sentence."""
    if isinstance(error, DataError):
        return error
    kind = {".parquet": "Parquet", ".feather": "Feather"}.get(kind_of(path), kind_of(path)[1:].upper())
    reason = " ".join(str(error).removeprefix("CSV parse error: ").split())
    if found := re.match(r"Row #(\d+): Expected (\d+) columns, got (\d+)", reason):
        reason = f"line {found[1]} has {found[3]} cells, but the first line has {found[2]} names; correct it"
    return DataError(f"{path.name} is not a readable {kind} file: {reason[:200].rstrip('.')}.")


def refuse_repeated(names: Iterable[object], source: str) -> None:
    """Raise `DataError` where columns have the same name: one could be the answer under another name."""
    found = [name for name, count in Counter(map(str, names)).items() if count > 1 and name]
    if found:
        raise DataError(f"{source} has several columns called {found[0]!r}; give each column a name of its own.")


def read_lines(path: Path) -> list[tuple[int, Document]]:
    """Read JSON lines.

    Args:
        path: of a file with a JSON object a line; empty lines are left out.

    Returns:
        The number of each line, from 1, and what it holds.

    Raises:
        DataError: a line is something else; the file and the line are named.
    """
    return list(lines_of(path))


def lines_of(path: Path) -> Iterator[tuple[int, Document]]:
    """Read JSON lines one after the other; see `read_lines`."""
    with _opened(path) as file:
        for number, _, _, record in _lines_in(file, path.name):
            yield number, record


def raw_lines_of(path: Path) -> Iterator[tuple[bytes, Document]]:
    """Each line of `lines_of` as it is written, without blanks around it, and what it holds."""
    with _opened(path) as file:
        for _, _, line, record in _lines_in(file, path.name):
            yield line.strip(), record


def places_of(file: Iterable[bytes], name: str) -> Iterator[tuple[int, int, int]]:
    """The number of each line of `lines_of`, and from which byte to which it is.

    Args:
        file: JSON lines, open at their beginning.
        name: of the file, for errors.
    """
    for number, start, line, _ in _lines_in(file, name):
        yield number, start, start + len(line)


def _opened(path: Path) -> gzip.GzipFile | BufferedReader:
    return gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb")


def _lines_in(file: Iterable[bytes], name: str) -> Iterator[tuple[int, int, bytes, Document]]:
    """The number of each line, where it begins, the line itself, and what it holds."""
    end = 0
    for number, raw in enumerate(file, 1):
        line, end = raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw, end + len(raw)
        if not line.strip():
            continue
        try:
            record = parse_json(line, unique=True)
            _refuse_halves(line, record)
        except ValueError as error:
            raise DataError(f"{name}, line {number} is not JSON: {error}; correct or remove it.") from None
        if not isinstance(record, dict):
            raise DataError(
                f"{name}, line {number} is a {type(record).__name__}, but every line must be a JSON object "
                'such as {"x": 1.5, "label": "yes"}.'
            )
        yield number, end - len(line), line, record


def _refuse_halves(line: bytes, record: object) -> None:
    """Raise `ValueError` where an escape is half of a character, which no encoding can write."""
    if b"\\u" in line:
        try:
            json.dumps(record, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            half = ascii(error.object[error.start])
            raise ValueError(f"it holds {half}, which is half of a character without the other") from None


def from_records(records: list[Document]) -> Frame:
    """Turn the objects of JSON lines into such a data frame."""
    pandas = import_optional("pandas", "data", "Reading JSON lines")
    names = dict.fromkeys(name for record in records for name in record)
    return pandas.DataFrame({name: _column([record.get(name) for record in records], pandas) for name in names})


def _column(values: list[Any], pandas: Any) -> Column:
    """A column of the narrowest type that holds all values; of strings where words and numbers are mixed."""
    kinds = {type(value) for value in values if value is not None}
    if kinds & {list, dict}:
        return pandas.Series(values, dtype=object)
    if kinds == {bool}:
        return pandas.Series(values, dtype="boolean")
    if kinds == {int}:
        known = [value for value in values if value is not None]
        low, high = min(known), max(known)
        if low >= -(2**63) and high < 2**64 and (low >= 0 or high < 2**63):
            return pandas.Series(values, dtype="Int64" if high < 2**63 else "UInt64")
    if kinds <= {int, float} and kinds != {int}:
        return pandas.Series([None if value is None else float(value) for value in values], dtype="Float64")
    return pandas.Series([None if value in (None, "") else str(value) for value in values], dtype="string")
