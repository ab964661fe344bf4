"""Reading tables: CSV, Parquet and JSON lines become one kind of data frame, with a mark for missing cells."""

from pathlib import Path
from typing import Any

from didact.documents import Document, parse_json
from didact.errors import DataError
from didact.sources.extras import import_optional

SUFFIXES = (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson")
"""The files that are tables."""


def read(path: Path) -> Any:
    """Read a table.

    Args:
        path: with one of `SUFFIXES`.

    Returns:
        A pandas data frame of nullable types: booleans, integers, floats and strings (empty strings are missing). An
        unnamed first column of different integers, as pandas writes its index, is left out.

    Raises:
        DataError: the file cannot be read; a line of JSON is named.
        MissingExtraError: pandas or pyarrow is not installed.
    """
    pandas = import_optional("pandas", "data", f"Reading {path.name}")
    if path.suffix in (".jsonl", ".ndjson"):
        frame = _from_records([record for _, record in read_lines(path)])
    elif path.suffix == ".parquet":
        frame = _read_parquet(path)
    else:
        frame = _read_csv(path, pandas)
    if not len(frame):
        raise DataError(f"{path.name} has no rows.")
    return frame


def from_arrow(table: Any) -> Any:
    """Turn a pyarrow table into such a data frame."""
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


def _read_parquet(path: Path) -> Any:
    parquet = import_optional("pyarrow.parquet", "data", f"Reading {path.name}")
    try:
        return from_arrow(parquet.read_table(path))
    except (ValueError, OSError) as error:
        raise DataError(f"{path.name} is not a readable Parquet file: {error}") from error


def _read_csv(path: Path, pandas: Any) -> Any:
    separator = "\t" if path.suffix == ".tsv" else ","
    try:
        frame = pandas.read_csv(path, sep=separator, dtype_backend="numpy_nullable", low_memory=False)
    except (ValueError, OSError) as error:
        raise DataError(f"{path.name} is not a readable {path.suffix[1:].upper()} file: {error}") from error
    if not isinstance(frame.index, pandas.RangeIndex):
        raise DataError(f"{path.name} has more cells in a row than names in its first line; name every column there.")
    first = frame.columns[0]
    if first == "Unnamed: 0" and str(frame[first].dtype) == "Int64" and frame[first].is_unique:
        frame = frame.drop(columns=first)
    if unnamed := [name for name in frame.columns if str(name).startswith("Unnamed: ")]:
        position = list(frame.columns).index(unnamed[0]) + 1
        raise DataError(f"{path.name} has no name for column {position}; name it in the first line, or remove it.")
    return frame


def read_lines(path: Path) -> list[tuple[int, Document]]:
    """Read JSON lines.

    Args:
        path: of a file with a JSON object a line; empty lines are left out.

    Returns:
        The number of each line, from 1, and what it holds.

    Raises:
        DataError: a line is something else; the file and the line are named.
    """
    records = []
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
            records.append((number, record))
    return records


def _from_records(records: list[Document]) -> Any:
    pandas = import_optional("pandas", "data", "Reading JSON lines")
    names = dict.fromkeys(name for record in records for name in record)
    return pandas.DataFrame({name: _column([record.get(name) for record in records], pandas) for name in names})


def _column(values: list[Any], pandas: Any) -> Any:
    """A column of the narrowest type that holds all values; of strings where words and numbers are mixed."""
    kinds = {type(value) for value in values if value is not None}
    if kinds & {list, dict}:
        return pandas.Series(values, dtype=object)
    if kinds == {bool}:
        return pandas.Series(values, dtype="boolean")
    if kinds == {int} and all(abs(value) < 2**63 for value in values if value is not None):
        return pandas.Series(values, dtype="Int64")
    if kinds <= {int, float}:
        return pandas.Series([None if value is None else float(value) for value in values], dtype="Float64")
    return pandas.Series([None if value in (None, "") else str(value) for value in values], dtype="string")
