"""One entrance for data of every kind."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from didact.errors import ConfigError, DataError, import_optional, nearest
from didact.preprocessing import TableOptions
from didact.preprocessing.cells import Frame
from didact.sources import arrays, encoding, hub, images, label_files, masks, series, tables
from didact.sources.marks import FILE, UNLABELLED
from didact.sources.request import Request, Size
from didact.sources.text import ByteTokenizer, Tokenizer
from didact.types import Examples, Modality, Standardisation, Task

_FILES = ("validation_file", "test_file", "unlabelled_file")
_SPLITTING = ("group_column", "time_column", "split_column", *_FILES)
_PICKLES = (".pkl", ".pickle", ".joblib", ".pt", ".pth", ".bin", ".npy")


def load(
    path: str | Path,
    *,
    target: str | None = None,
    id_column: str | None = None,
    text_column: str | None = None,
    group_column: str | None = None,
    time_column: str | None = None,
    split_column: str | None = None,
    validation_file: str | None = None,
    test_file: str | None = None,
    labels_file: str | None = None,
    unlabelled_file: str | None = None,
    task: Task | None = None,
    columns: TableOptions | None = None,
    modality: Modality | None = None,
    standardise: Standardisation = "channel",
    skip_bad: bool = False,
    image_size: Size | None = None,
    tokenizer: Tokenizer | None = None,
    max_length: int = 128,
    split: str | None = None,
    classes: Callable[[], tuple[str, ...]] = tuple,
) -> Examples:
    """Load examples from files.

    A table gets no inputs yet: its rows are kept as they came, so that `fit_preprocessing` can fit what becomes of them
    to the training rows alone. A single column of free text makes the data text. Rows without a target are unlabelled.
    Ids are hashes of the id column, or else of the inputs as they were given, so that they survive another order and
    added rows; equal rows then have equal ids, and can never be split apart.

    Args:
        path: a `.csv`, `.tsv`, `.parquet`, `.feather`, `.jsonl` or `.npz` file, where text may be compressed as `.gz`;
            one of series, see `series.reads`; a folder with a folder of images for each class, or with `images` and
            `masks`; or `hf:` and the name or directory of a Hugging Face data set.
        target: the column (or array) to be predicted; where None, the one called label, target or y.
        id_column: what names each row, every one differently.
        text_column: the only column to learn from, as text.
        group_column: rows with the same value get the same `group`, and stay in one split.
        time_column: numbers or dates, which become the tensor `time`: the earliest rows train, the latest are the test.
        split_column: the words train, validation and test, which become the tensor `split`.
        validation_file: another table with the validation rows, or folder with the images.
        test_file: another table with the test rows, or folder with the images.
        labels_file: a table of the labels of a table's rows, by id, or of a folder's images, by file name.
        unlabelled_file: another table or folder with training examples without labels, such as those of another domain;
            labels in it are not read. All examples get the tensor `domain`, which is 1 for these, else 0.
        task: inferred where None: see `targets.encode_targets`.
        columns: of a table, what its columns are, what is missing, and what fills gaps.
        modality: what an array holds, `table`, `image` or `series`; `series` makes one of the columns of a table.
        standardise: how series are scaled: each channel by the training rows, each series by itself, or not.
        skip_bad: leave out images that cannot be read, with a warning, instead of refusing the data.
        image_size: a side in pixels, or height and width, to which images are resized.
        tokenizer: takes N strings and gives `input_ids` and `attention_mask` [N, T]; by default a `ByteTokenizer`.
        max_length: longest text in tokens for the default tokenizer.
        split: which part of a Hugging Face data set, or of a folder with train, validation and test.
        classes: gives the names of the classes of a table where no row has a label, or of masks.

    Returns:
        The examples.

    Raises:
        DataError: the file cannot be read, or cannot be learned from as it is; the message names the place and the
            remedy.
        ConfigError: an option that means nothing for these data.
        MissingExtraError: a package that these data need is not installed.
    """
    request = Request(
        tokenizer=tokenizer or ByteTokenizer(max_length),
        target=target,
        id_column=id_column,
        text_column=text_column,
        group_column=group_column,
        time_column=time_column,
        split_column=split_column,
        validation_file=validation_file,
        test_file=test_file,
        labels_file=labels_file,
        unlabelled_file=unlabelled_file,
        task=task,
        columns=columns or TableOptions(),
        modality=modality,
        standardise=standardise,
        skip_bad=skip_bad,
        image_size=image_size,
        split=split,
        classes=classes,
    )
    if str(path).startswith("hf:"):
        _refuse(Path(path), request, "a Hugging Face data set", (*_SPLITTING, "modality", "labels_file"))
        return hub.load(str(path).removeprefix("hf:"), request)
    path = Path(path)
    return _load_folder(path, request) if path.is_dir() else _load_file(path, request)


def _load_folder(path: Path, request: Request) -> Examples:
    unused = [field for field in ("target", "id_column", "text_column") if getattr(request, field) is not None]
    if unused:
        raise _meaningless(path, request, "a folder of images", unused[0])
    if request.columns != TableOptions():
        raise ConfigError(f"{path.name} is a folder of images, without columns; leave out what is said of columns.")
    _refuse(path, request, "a folder of images", ("group_column", "time_column", "split_column", "modality"))
    inside = path / (request.split or "")
    return masks.load_masks(inside, request) if masks.has_masks(inside) else images.load_folder(path, request)


def _load_file(path: Path, request: Request) -> Examples:
    unused = [field for field in ("split", "image_size") if getattr(request, field) is not None]
    if unused:
        raise _meaningless(path, request, "a file", unused[0])
    if not path.is_file():
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"There is no file or folder {str(path)!r}. {nearest(path.name, siblings[:1000])}")
    suffix, modality = path.suffix.lower(), request.modality
    if suffix == ".txt" and request.task == "embedding":
        return encoding.encode(tables.read_texts(path), request, name=path.name)
    as_series = suffix in series.SUFFIXES and modality != "table" and series.reads(path, asked=modality == "series")
    if suffix == ".npz" or as_series:
        _refuse(path, request, "a file of arrays", ("text_column", "labels_file"))
        return arrays.load_arrays(path, request)
    if tables.kind_of(path) in tables.SUFFIXES:
        if modality == "image":
            raise _meaningless(path, request, "a table", "modality")
        frame, notes = _read_tables(path, request) if request.files else tables.read(path)
        if request.labels_file is not None:
            frame = label_files.add(frame, Path(request.labels_file), request.id_column, path.name)
        return encoding.encode(frame, request, name=path.name, notes=notes)
    if suffix in _PICKLES:
        raise DataError(
            f"{path.name} may hold pickled Python objects, which didact never loads, as they can run code; save arrays "
            "with numpy.savez, or a table as CSV or Parquet."
        )
    raise DataError(
        f"{path.name} is of an unknown kind; didact reads {', '.join((*tables.SUFFIXES, '.npz', '.ts', '.txt'))}, "
        "folders of images, and hf:NAME."
    )


def from_frame(frame: Frame, *, name: str = "data frame", **options: Any) -> Examples:
    """Make examples of a pandas data frame.

    Args:
        frame: a column for each feature, and one for the target.
        name: of the data, for messages.
        options: see `load`.

    Raises:
        DataError: see `load`.
    """
    if not len(frame):
        raise DataError(f"{name} has no rows.")
    tables.refuse_repeated(frame.columns, name)
    tokenizer = options.pop("tokenizer", None) or ByteTokenizer(options.pop("max_length", 128))
    options.pop("max_length", None)
    return encoding.encode(frame.rename(columns=str), Request(tokenizer=tokenizer, **options), name=name)


def _refuse(path: Path, request: Request, kind: str, names: tuple[str, ...]) -> None:
    """Refuse options that mean nothing for data of a kind."""
    for field in names:
        if getattr(request, field) is not None:
            raise _meaningless(path, request, kind, field)


def _read_tables(path: Path, request: Request) -> tuple[Frame, tuple[str, ...]]:
    """The rows of a table, and those of its further files, marked by their file."""
    frame, notes = tables.read(path)
    pandas = import_optional("pandas", "data", f"Reading {path.name}")
    # Rows of the table itself are left to the fractions, which are 0 for what has a file.
    parts = [frame.assign(**{FILE: -1})]
    for number, field, other in request.files:
        if not other.is_file() or not tables.is_table(other):
            instead = "" if number == UNLABELLED else "a fraction, or "
            raise DataError(f"{field} is {str(other)!r}, which is no table; give {instead}a file as {path.name}.")
        rows, further = tables.read(other)
        notes += further
        if number == UNLABELLED and request.labels_file is None:
            target = encoding.find_target(frame, request, path.name)
            rows = rows.assign(**{target: pandas.NA})
        if odd := sorted(set(map(str, frame.columns)) ^ set(map(str, rows.columns))):
            raise DataError(
                f"{path.name} and {other.name} have different columns: {', '.join(map(repr, odd[:8]))} is only in one "
                "of them; both need the same."
            )
        parts.append(rows.assign(**{FILE: number}))
    for column in frame.columns:
        # Numbers in one file and words in another are words.
        filled = [part[column] for part in parts if not part[column].isna().all()]
        if len({one.dtype.kind in "biuf" for one in filled}) > 1:
            parts = [part.astype({column: "string"}) for part in parts]
    return pandas.concat(parts, ignore_index=True), notes


def _meaningless(path: Path, request: Request, kind: str, field: str) -> ConfigError:
    return ConfigError(
        f"{field} is {getattr(request, field)!r}, but {path.name} is {kind}, for which it means nothing; leave out "
        f"{field}."
    )
