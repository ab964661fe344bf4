"""Tables as text, such as CSV: their separator and encoding are found, and every column gets the narrowest type.

They are written here too.
"""

import codecs
import contextlib
import csv
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from didact.errors import DataError, import_optional

SEPARATORS = {".csv": ",;\t|", ".tsv": "\t,;|"}
"""What may separate cells, by the kind of file: the usual one first."""
FALLBACK = "cp1252"
"""The encoding of files that are not Unicode: Western European, with the letters of Latin-1."""
_HEAD = 4 << 20
_CACHED = 1 << 18
_BLOCK = 1 << 20
_LARGEST = 2**31 - 1
_LEAST, _MOST = 1e-4, {4: 1e5, 8: 1e9}
"""Floats of 4 and 8 bytes in between, but for whole ones, are the same numerals for numpy and pyarrow."""
_MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_CODE = r"^[+-]?0[0-9xX]"
_COMMA = r"^(\s*[+-]?[0-9]*),([0-9]+\s*)$"
_TRUTH = ("True", "TRUE", "true", "False", "FALSE", "false")

Table = Any
"""A `pyarrow.Table`."""
Column = Any
"""A `pyarrow.ChunkedArray` or `pyarrow.Array`, [N]."""
Frame = Any
"""A pandas data frame."""


@dataclass(frozen=True)
class Dialect:
    """How a file is written."""

    names: tuple[str, ...]
    """The cells of its first line."""
    separator: str
    encoding: str
    usual: str
    """The separator that files of this kind have."""

    def notes(self, name: str) -> tuple[str, ...]:
        """What was found that could have been decided otherwise, as sentences."""
        found = []
        if self.separator != self.usual:
            shown = {"\t": "a tab"}.get(self.separator, repr(self.separator))
            commas = ", and a comma in a number is its decimal point" if self.separator == ";" else ""
            found.append(f"The cells of {name} are separated by {shown}{commas}.")
        if self.encoding == FALLBACK:
            found.append(
                f"{name} is not UTF-8 and is read as {FALLBACK} (Western European); if letters come out wrong, save it "
                "as UTF-8."
            )
        return tuple(found)


def find_dialect(path: Path, kind: str) -> Dialect:
    """Find the separator and the names by the first line, and the encoding by the whole file.

    Args:
        path: of the file, which may be compressed as `.gz`.
        kind: one of `SEPARATORS`.

    Raises:
        ValueError: there is no first line.
        DataError: there is nothing else.
        OSError: it cannot be read.
    """
    pyarrow = import_optional("pyarrow", "data", f"Reading {path.name}")
    with pyarrow.input_stream(path) as file:
        head = block = file.read(_HEAD)
        encoding = next((name for mark, name in _MARKS.items() if head.startswith(mark)), "")
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            while block and not encoding:
                # A letter may be cut in two at the end of a block.
                if not block.isascii() or decoder.getstate()[0]:
                    decoder.decode(block)
                block = file.read(_CACHED)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            encoding = FALLBACK
    encoding = encoding or "utf-8"
    text, usual = head.decode(encoding, errors="ignore").lstrip("\ufeff\r\n"), SEPARATORS[kind]
    stream, lines, ends = io.StringIO(text, newline=""), list[list[str]](), list[int]()
    try:
        for mark in usual:
            stream.seek(0)
            lines.append(next(csv.reader(stream, delimiter=mark), []))
            ends.append(stream.tell())
    except csv.Error as error:
        raise ValueError(f"its first line is no line of names ({error})") from None
    best = max(range(len(usual)), key=lambda place: len(lines[place]))
    if not lines[best]:
        raise ValueError("it is empty")
    if len(head) < _HEAD and not text[ends[best] :].strip():
        raise DataError(f"{path.name} has no rows.")
    return Dialect(tuple(lines[best]), usual[best], encoding, usual[0])


def read_words(path: Path, dialect: Dialect, *, gaps: bool) -> Table:
    """Read a whole file, every cell as it is written.

    Args:
        path: see `find_dialect`.
        dialect: of the file.
        gaps: whether empty cells are missing, and decimal commas become points; else all is left as it is.

    Returns:
        A table of strings, with the names of the first line.

    Raises:
        ValueError: it is not such a file.
    """
    reader = import_optional("pyarrow.csv", "data", f"Reading {path.name}")
    import pyarrow

    size, threads = _BLOCK, True
    while True:
        try:
            with pyarrow.input_stream(path) as file:
                table = reader.read_csv(file, **_options(dialect, size, threads=threads, gaps=gaps))
            return (_with_points(table) if gaps and dialect.separator == ";" else table).rename_columns(dialect.names)
        except ValueError as error:
            if "straddling" in str(error) and size < _LARGEST:  # a row is longer than a block
                size = min(64 * size, _LARGEST)
            elif threads:  # threads cannot tell in which line something is wrong
                threads = False
            else:
                raise


def read_word_parts(path: Path, dialect: Dialect) -> Iterator[Table]:
    """Read a file a block of rows at a time, with gaps; see `read_words`."""
    reader = import_optional("pyarrow.csv", "data", f"Reading {path.name}")
    import pyarrow

    size, done = _BLOCK, 0
    while True:
        skipped = 0
        try:
            with pyarrow.input_stream(path) as file:
                for batch in reader.open_csv(file, **_options(dialect, size, threads=True, gaps=True)):
                    skip = min(done - skipped, len(batch))
                    skipped += skip
                    table = pyarrow.Table.from_batches([batch])[skip:]
                    table = _with_points(table) if dialect.separator == ";" else table
                    yield table.rename_columns(dialect.names)
                    done, skipped = done + len(batch) - skip, skipped + len(batch) - skip
            return
        except ValueError as error:
            if "straddling" not in str(error) or size >= _LARGEST:
                raise
            size = min(64 * size, _LARGEST)


def narrow(column: Column) -> Column:
    """A column of strings as whole numbers, floats or booleans, where all of its cells are; else as it is.

    Digits that begin with a zero, and more digits than 64 bits hold, stay strings.
    """
    import pyarrow

    compute, numbers = import_optional("pyarrow.compute", "data", "Reading a table"), None
    for kind in (pyarrow.int64(), pyarrow.uint64(), pyarrow.float64()):
        with contextlib.suppress(pyarrow.ArrowInvalid):
            numbers = compute.cast(column, kind)
            break
    if numbers is not None and numbers.type != pyarrow.float64():
        odd = column.filter(compute.not_equal(compute.cast(numbers, pyarrow.string()), column))
        return column if compute.any(compute.match_substring_regex(odd, _CODE)).as_py() else numbers
    if numbers is not None and not compute.any(compute.is_nan(numbers)).as_py():
        # So many digits are more likely an id than a quantity.
        few = compute.ascii_is_decimal(column[:1]).to_pylist() != [False]
        return column if few and compute.all(compute.ascii_is_decimal(column)).as_py() else numbers
    if any(compute.any(has(column, " ")).as_py() for has in (compute.starts_with, compute.ends_with)):
        trimmed = narrow(compute.utf8_trim_whitespace(column))
        return column if trimmed.type == column.type else trimmed
    first = column.drop_null()[:1].to_pylist()
    likely = bool(first) and first[0] in _TRUTH
    if likely and compute.all(compute.is_in(column.drop_null(), value_set=pyarrow.array(_TRUTH))).as_py():
        return compute.cast(column, pyarrow.bool_())
    return column


def text_of(frame: Frame, *, names: bool) -> str:
    """A data frame as CSV, to the byte as `frame.to_csv(index=False, header=names)` writes it, in less time.

    Args:
        frame: a pandas data frame of two columns or more.
        names: whether the first line is that of the names.
    """
    import pyarrow

    compute = import_optional("pyarrow.compute", "data", "Writing a table")
    found = [_written(frame.iloc[:, place]) for place in range(frame.shape[1])]
    columns = [column for column in found if column is not None]
    if len(columns) < len(found):
        return frame.to_csv(index=False, header=names)
    comma, end, nothing = (pyarrow.scalar(mark, pyarrow.large_string()) for mark in (",", os.linesep, ""))
    cells = [part for column in columns for part in (comma, column)]
    lines = compute.binary_join_element_wise(*cells[1:], end, nothing)
    content = b"".join(lines.buffers()[2:])
    return (frame[:0].to_csv(index=False) if names else "") + content.decode()


def _written(column: Any) -> Column | None:
    """The cells of a pandas column as they are written, large strings [N]; None where they are of another kind."""
    import pyarrow

    compute = import_optional("pyarrow.compute", "data", "Writing a table")
    kind, large = column.dtype.kind, pyarrow.large_string()
    if kind == "f" and isinstance(column.dtype, np.dtype):
        return _numerals(column.to_numpy())
    if kind in "iu" and isinstance(column.dtype, np.dtype):
        return compute.cast(pyarrow.array(column.to_numpy()), large)
    try:
        words = pyarrow.array(column.tolist(), from_pandas=True)
    except (pyarrow.ArrowException, OverflowError):
        return None
    if words.type != pyarrow.string():
        return None
    coded = words.dictionary_encode()
    quoted = [_quoted(word) for word in coded.dictionary.to_pylist()]
    return compute.fill_null(pyarrow.array(quoted, large).take(coded.indices), "")


def _quoted(word: str) -> str:
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator=os.linesep).writerow((word, ""))
    return file.getvalue()[: -len(os.linesep) - 1]


def _numerals(numbers: np.ndarray) -> Column:
    """Floats [N] as numpy writes them, large strings; NaN is an empty cell."""
    import pyarrow

    compute = import_optional("pyarrow.compute", "data", "Writing a table")
    size, most = np.abs(numbers.astype(np.float64)), _MOST.get(numbers.itemsize, 0)
    odd = ~((size >= _LEAST) & (size < most) & (size != np.trunc(size)))
    text = compute.cast(pyarrow.array(numbers), pyarrow.large_string())
    others = np.where(np.isnan(numbers[odd]), "", numbers[odd].astype(str))
    return compute.replace_with_mask(text, pyarrow.array(odd), pyarrow.array(others, pyarrow.large_string()))


def _options(dialect: Dialect, size: int, *, threads: bool, gaps: bool) -> dict[str, Any]:
    """The arguments of pyarrow's readers, by which columns are numbered, as names may be repeated."""
    import pyarrow
    from pyarrow import csv as reader

    names = list(map(str, range(len(dialect.names))))
    return {
        "read_options": reader.ReadOptions(
            use_threads=threads,
            block_size=size,
            encoding=dialect.encoding,
            column_names=names,
            skip_rows_after_names=1,
        ),
        "parse_options": reader.ParseOptions(delimiter=dialect.separator, newlines_in_values=True),
        "convert_options": reader.ConvertOptions(
            column_types=dict.fromkeys(names, pyarrow.string()), null_values=[""], strings_can_be_null=gaps
        ),
    }


def _with_points(table: Table) -> Table:
    """A table with points in the place of decimal commas."""
    compute = import_optional("pyarrow.compute", "data", "Reading a table")
    for place, column in enumerate(table.columns):
        table = table.set_column(place, str(place), compute.replace_substring_regex(column, _COMMA, r"\1.\2"))
    return table
