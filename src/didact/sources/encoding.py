"""From a data frame to examples: its target, its ids, its other columns, and the inputs that these become."""

import dataclasses
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import torch

from didact import hashing
from didact.errors import DataError, nearest
from didact.preprocessing import (
    ImagePreprocessing,
    Kinds,
    Number,
    Rows,
    SeriesPreprocessing,
    SeriesRows,
    TableOptions,
    TablePreprocessing,
    TextPreprocessing,
    find_kinds,
    fit_table,
    plain_table,
    refuse,
)
from didact.preprocessing.cells import NUMERIC, Column, Frame, coded, numbers_of
from didact.sources import targets
from didact.sources.arrays import with_series
from didact.sources.ids import hash_ids
from didact.sources.marks import FILE, take_marks
from didact.sources.request import Request
from didact.sources.text import from_texts
from didact.types import Examples, Preprocessing, Scale


def encode(
    frame: Frame, request: Request, *, name: str, classes: tuple[str, ...] = (), notes: tuple[str, ...] = ()
) -> Examples:
    """Make examples of a data frame.

    Args:
        frame: at least one row; see `tables.read`.
        request: the options of `sources.load`.
        name: of the data, for messages.
        classes: names of the classes where the target holds their numbers; below 0 is unlabelled.
        notes: what was decided when it was read.

    Returns:
        A table, whose preprocessing is not fitted yet, or text. Rows are named by the hash of their contents where
        there is no id column.

    Raises:
        DataError: see `sources.load`; all that is wrong is told at once.
    """
    split_tensors = {}
    if request.splitting or FILE in frame.columns:
        frame, split_tensors = take_marks(frame, request, name)
    if request.task == "embedding" and request.target is None and not set(targets.NAMES) & set(frame.columns):
        frame = frame.assign(**{targets.NAMES[0]: np.nan})
    target_name = find_target(frame, request, name)
    inputs = frame[[column for column in frame.columns if column not in (target_name, request.id_column)]]
    if not len(inputs.columns):
        raise DataError(f"{name} has no column beside the target {target_name!r} to learn from.")
    problems, texts, kinds, text_column = Problems(), list[str](), Kinds(), request.text_column
    series = None
    columns = dict[str, Column]()
    target = None
    with problems:
        target = targets.encode_targets(
            frame[target_name],
            task=request.task,
            name=target_name,
            missing=request.columns.missing,
            classes=classes,
            unlabelled=request.classes,
        )
    ids = None
    if request.id_column is not None:
        with problems:
            ids = ids_of(frame, request.id_column)
    if request.modality == "series":
        with problems:
            series = _series(inputs, request)
    elif text_column is None:
        columns = {name: one if one.dtype.kind in NUMERIC else coded(one) for name, one in inputs.items()}
        kinds = find_kinds(columns, request.columns)
        problems += kinds.complaints
        prose = [column for column, (kind, _) in kinds.kinds.items() if kind == "text"]
        text_column = _only_text(prose, kinds, inputs, problems) if prose else None
    if text_column is not None:
        with problems:
            texts = _texts(frame[text_column])
    if problems or target is None:
        refuse(problems, name)
    examples = Examples(
        tensors={"label": target.label, **split_tensors},
        task=target.task,
        modality="table",
        classes=target.classes,
        name=name,
        target=target_name,
        id_column=request.id_column or "",
        notes=(*notes, *target.notes),
    )
    if series is not None:
        return with_series(examples, series, ids)
    if text_column is not None:
        examples = examples.with_tensors(id=hashing.of_strings(texts) if ids is None else ids)
        return from_texts(texts, request.tokenizer, examples, column=text_column)
    rows = Rows(columns, kinds, request.columns, name, framed=True)
    return dataclasses.replace(examples.with_tensors(id=rows.hashes if ids is None else ids), rows=rows)


def _series(inputs: Frame, request: Request) -> SeriesRows:
    """The columns of a table as the steps of series of one channel."""
    steps = [name for name in inputs.columns if name not in request.columns.drop]
    kinds = find_kinds(inputs[steps], TableOptions(numeric=tuple(steps), missing=request.columns.missing))
    if kinds.complaints:
        raise DataError("; ".join(kinds.complaints))
    values = np.stack([numbers_of(inputs[name], request.columns.missing)[0] for name in steps], axis=1)
    return SeriesRows(values[:, None], request.standardise, tuple(map(str, steps)))


class Problems(list[str]):
    """Sentences about what is wrong; a `with` block adds that of a `DataError`, and goes on."""

    def __enter__(self) -> None:
        """Nothing."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Take what is wrong."""
        if isinstance(error, DataError):
            self.append(str(error))
        return isinstance(error, DataError)


def find_target(frame: Frame, request: Request, name: str) -> str:
    """The name of the target's column, once the columns that are asked for are known to be there.

    Raises:
        DataError: a column is not there or is asked for twice, or no target is named.
    """
    names = [str(column) for column in frame.columns]
    for field in ("target", "id_column", "text_column"):
        column = getattr(request, field)
        if column is not None and column not in names:
            raise DataError(f"{name} has no column {column!r} for {field}. {nearest(column, names)}")
    found = [column for column in targets.NAMES if column in names]
    if request.target is None and len(found) != 1:
        raise DataError(
            f"{name}: target is not given, and {len(found) or 'none'} of its columns are called "
            f"{', '.join(targets.NAMES)}. Name one of {', '.join(names)}."
        )
    target = request.target or found[0]
    for field in ("id_column", "text_column"):
        if getattr(request, field) == target:
            raise DataError(f"{field} and target are both {target!r}; they must be different columns.")
    return target


def ids_of(frame: Frame, id_column: str | None) -> torch.Tensor | None:
    """Hashes of the ids, int64 [N]; None where no column names the rows."""
    return None if id_column is None else hash_ids(cell_objects(frame[id_column]), id_column)


def cell_objects(series: Column) -> Column:
    """The cells of a column as Python objects, None where one is missing; [N]."""
    return series.astype(object).where(series.notna(), None).to_numpy()


def _only_text(texts: list[str], kinds: Kinds, inputs: Frame, problems: list[str]) -> str | None:
    """The column of prose, where there is one and nothing beside it would be left out in silence."""
    others = [name for name, (kind, _) in kinds.kinds.items() if kind != "dropped" and name not in texts[:1]]
    if len(texts) == 1 and not others:
        return texts[0]
    for text in texts:
        row = int(inputs[text].notna().to_numpy().argmax())
        problems.append(
            f"The column {text!r} holds prose, such as {str(inputs[text].iloc[row])[:40]!r} in row {row + 1}, beside "
            f"other columns ({', '.join(repr(name) for name in inputs.columns if name != text)[:100]}), which would "
            "not be used with it; if it is what the model should read, say so with text_column (--text-column), or "
            "leave it out with drop (--drop)."
        )
    return None


def _texts(series: Column) -> list[str]:
    cells = cell_objects(series)
    empty = [row for row, cell in enumerate(cells) if cell is None or not str(cell).strip()]
    if empty:
        raise DataError(
            f"The text column {series.name!r} is empty in {len(empty)} of {len(cells)} rows, first in row "
            f"{empty[0] + 1}; remove these rows."
        )
    return [str(cell) for cell in cells]


def fit_preprocessing(train: Examples, like: Examples | None = None) -> "Prepare":
    """Fit the preprocessing and the unit of the labels to training examples.

    Tables and series that were read get their inputs (see `didact.preprocessing`). The labels of a regression are
    standardised by the mean and the standard deviation of those that are there.

    Args:
        train: training examples, with the labels that the student may see.
        like: examples of the kind that the student was taught on before: their preprocessing and unit are kept.

    Returns:
        What makes the same of any examples of these data.

    Raises:
        DataError: nothing in the rows can be learned from.
    """
    scale, rows = train.scale, train.rows
    if train.task == "regression" and scale is None:
        scale = fit_scale(train.tensors["label"]) if like is None or like.scale is None else like.scale
    if like is not None and like.preprocessing is not None and rows is not None:
        preprocessing: Preprocessing | None = like.preprocessing
    elif isinstance(rows, Rows) and "x" not in train.tensors:
        preprocessing = fit_table(rows, rows.options, kinds=rows.kinds, name=rows.name)
    elif isinstance(rows, SeriesRows) and "x" not in train.tensors:
        preprocessing = rows.fit()
    else:
        preprocessing = plain_preprocessing(train)
    return Prepare(preprocessing, scale)


@dataclass(frozen=True)
class Prepare:
    """Gives examples the inputs and the labels that training examples say."""

    preprocessing: Preprocessing | None
    scale: Scale | None

    def __call__(self, examples: Examples) -> Examples:
        """The same examples with inputs, and labels in that unit; what is there already is left alone."""
        tensors, known, rows = dict(examples.tensors), self.preprocessing, examples.rows
        if isinstance(rows, Rows) and isinstance(known, TablePreprocessing) and "x" not in tensors:
            tensors = {**known.encode(rows).tensors, **tensors}
        elif isinstance(rows, SeriesRows) and isinstance(known, SeriesPreprocessing) and "x" not in tensors:
            tensors = {**known.encode(rows.values).tensors, **tensors}
        if self.scale is not None and examples.scale is None:
            tensors["label"] = self.scale.apply(tensors["label"])
        return dataclasses.replace(examples, tensors=tensors, preprocessing=known, scale=self.scale)


def fit_scale(label: torch.Tensor) -> Scale:
    """The mean and the standard deviation of the labels that are there; a deviation of 0 counts as 1."""
    known = label[~label.isnan()].double()
    std = float(known.std(correction=0)) if len(known) else 0.0
    return Scale(float(known.mean()) if len(known) else 0.0, std if std > 0 else 1.0)


def plain_preprocessing(train: Examples) -> Preprocessing | None:
    """The preprocessing of inputs that are tensors already: numbers as they are, images and texts of their size.

    Args:
        train: training examples; the medians of the columns of a table fill gaps in other rows.

    Returns:
        That which they have, where it does more; None for inputs of a form that cannot be made of rows.
    """
    shape, known = train.shape, train.preprocessing
    if train.modality == "table" and len(shape) == 1 and (known is None or _is_plain(known)):
        names = [f"x{i}" for i in range(shape[0])]
        if isinstance(known, TablePreprocessing):
            names = [column.name for column in known.columns]
        return plain_table(names, np.median(train.tensors["x"].double().numpy(), axis=0))
    if known is None and train.modality == "text":
        return TextPreprocessing(column="text", max_length=shape[0], vocabulary=train.vocabulary)
    if known is None and train.modality == "image" and len(shape) == 3:
        return ImagePreprocessing(channels=shape[0], height=shape[1], width=shape[2])
    return known


def _is_plain(known: Preprocessing) -> bool:
    """Whether preprocessing takes numbers as they are."""
    columns = known.columns if isinstance(known, TablePreprocessing) else ()
    return bool(columns) and all(
        isinstance(column, Number) and not column.offset and not column.marked for column in columns
    )
