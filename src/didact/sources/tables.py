"""Reading tables: CSV, Parquet and JSON lines become one kind of data frame, with a mark for missing cells."""

import itertools
import mmap
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from didact.documents import Document, parse_json
from didact.errors import DataError, import_optional
from didact.preprocessing.cells import Column, Frame

SUFFIXES = (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson")
"""The files that are tables, in lower case."""
_LINES = (".jsonl", ".ndjson")


def read(path: Path) -> Frame:
    """Read a table.

    Args:
        path: with one of `SUFFIXES`.

    Returns:
        A pandas data frame of nullable types: booleans, integers, floats and strings. Only empty cells are missing;
        what `NA` means is for whoever knows what the column is. An unnamed first column of different integers, as
        pandas writes its index, is left out. Digits that begin with a zero stay strings.

    Raises:
        DataError: the file cannot be read, has no rows, or has several columns of one name.
        MissingExtraError: pandas or pyarrow is not installed.
    """
    pandas = import_optional("pandas", "data", f"Reading {path.name}")
    if path.suffix.lower() in _LINES:
        frame = _from_records([record for _, record in read_lines(path)])
    elif path.suffix.lower() == ".parquet":
        frame = _read_parquet(path)
    else:
        frame = _read_csv(path, pandas)
    if not len(frame):
        raise DataError(f"{path.name} has no rows.")
    return frame


def read_chunks(path: Path, rows: int, words: Collection[str]) -> Iterator[Frame]:
    """Read a table a part at a time, so that no more than that is in memory.

    Args:
        path: with one of `SUFFIXES`.
        rows: of a part.
        words: columns whose cells are to be read as they are written; the others are read as in `read`.

    Yields:
        Data frames as `read` gives them, at least one.

    Raises:
        DataError: see `read`.
    """
    pandas = import_optional("pandas", "data", f"Reading {path.name}")
    first = 0
    for part in _parts(path, rows, words, pandas):
        part.index = range(first, first + len(part))
        first += len(part)
        if len(part):
            yield part
    if not first:
        raise DataError(f"{path.name} has no rows.")


def _parts(path: Path, rows: int, words: Collection[str], pandas: Any) -> Iterator[Frame]:
    suffix = path.suffix.lower()
    try:
        if suffix in _LINES:
            records = (record for _, record in lines_of(path))
            while some := list(itertools.islice(records, rows)):
                yield _from_records(some)
        elif suffix == ".parquet":
            parquet = import_optional("pyarrow.parquet", "data", f"Reading {path.name}")
            pyarrow = import_optional("pyarrow", "data", f"Reading {path.name}")
            for batch in parquet.ParquetFile(path).iter_batches(batch_size=rows):
                yield from_arrow(pyarrow.Table.from_batches([batch]))
        else:
            with _open_csv(path, pandas, chunksize=rows, dtype=dict.fromkeys(words, "string")) as reader:
                yield from reader
    except (ValueError, OSError) as error:
        raise _unreadable(path, error) from error


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


def _read_parquet(path: Path) -> Frame:
    parquet = import_optional("pyarrow.parquet", "data", f"Reading {path.name}")
    try:
        return from_arrow(parquet.read_table(path))
    except (ValueError, OSError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    if isinstance(error, DataError):
        return error
    kind = {".parquet": "Parquet"}.get(path.suffix.lower(), path.suffix[1:].upper())
    return DataError(f"{path.name} is not a readable {kind} file: {error}")


def _open_csv(path: Path, pandas: Any, **options: Any) -> Frame:
    """A CSV file, of which only empty cells are missing; with `chunksize`, a reader of parts of it."""
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    try:
        names = pandas.read_csv(path, sep=separator, header=None, nrows=1, dtype=str, keep_default_na=False).iloc[0]
        if names[names != ""].duplicated().any():
            refuse_repeated(names, path.name)
        return pandas.read_csv(
            path,
            sep=separator,
            dtype_backend="numpy_nullable",
            low_memory=False,
            keep_default_na=False,
            na_values=[""],
            **options,
        )
    except (ValueError, OSError) as error:
        raise _unreadable(path, error) from error


_ZERO = re.compile(rb'(?:^|[,"\t\n])0\d')


def _read_csv(path: Path, pandas: Any) -> Frame:
    """A CSV file, without the index that pandas wrote, and with digits that begin with a zero as they are written."""
    frame = _open_csv(path, pandas)
    if not isinstance(frame.index, pandas.RangeIndex):
        raise DataError(f"{path.name} has more cells in a row than names in its first line; name every column there.")
    first = frame.columns[0]
    if first == "Unnamed: 0" and str(frame[first].dtype) == "Int64" and frame[first].is_unique:
        frame = frame.drop(columns=first)
    if unnamed := [name for name in frame.columns if str(name).startswith("Unnamed: ")]:
        position = list(frame.columns).index(unnamed[0]) + 1
        raise DataError(f"{path.name} has no name for column {position}; name it in the first line, or remove it.")
    whole = [name for name in frame.columns if frame[name].dtype.kind in "iu"]
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        found = whole and _ZERO.search(content) is not None
    written = _open_csv(path, pandas, usecols=whole, dtype="string") if found else {}
    codes = {name: written[name] for name in written if written[name].str.match(r"\s*0\d").fillna(False).any()}
    return frame.assign(**codes)


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
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                record = parse_json(line)
            except ValueError as error:
                raise DataError(f"{path.name}, line {number} is not JSON: {error}; correct or remove it.") from None
            if not isinstance(record, dict):
                raise DataError(
                    f"{path.name}, line {number} is a {type(record).__name__}, but every line must be a JSON object "
                    'such as {"x": 1.5, "label": "yes"}.'
                )
            yield number, record


def _from_records(records: list[Document]) -> Frame:
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
