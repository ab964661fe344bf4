"""Teachers that know the data in another form than the student: as a matrix or a table, or in another unit."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from torch import Tensor

from didact.errors import MissingExtraError, TeacherError
from didact.preprocessing import Rows, TablePreprocessing
from didact.preprocessing.cells import NUMERIC, Column, Frame, numbers_of, words_of
from didact.teachers.base import WrappingTeacher
from didact.types import Batch, Examples, Features, Labels, Logits, Scale, Signal, Teacher


def matrix(batch: Batch) -> np.ndarray:
    """The batch's `x` as float32 [B, F], flattened.

    Raises:
        TeacherError: the batch has no `x`.
    """
    if "x" not in batch:
        raise TeacherError(
            f"The teacher needs numbers, but the batch has {', '.join(sorted(batch))} and no 'x'. For text, use a "
            "Hugging Face teacher, or an ONNX file whose inputs are input_ids and attention_mask."
        )
    return batch["x"].detach().flatten(1).float().cpu().numpy()


def check_columns(wanted: Sequence[str], names: Sequence[str]) -> None:
    """Raise `TeacherError`, naming what is missing, unless the data have every column that a teacher knows."""
    missing = [name for name in wanted if name not in names]
    if missing:
        have = ", ".join(map(repr, names)) or "none with a name"
        raise TeacherError(
            f"The teacher was fitted on columns that the data lack: {', '.join(map(repr, missing))}. The data's "
            f"columns are: {have}. Name them alike, or fit the teacher on these."
        )


class Lookup:
    """Where examples lie, by their ids.

    Args:
        ids: int64 [N].
    """

    def __init__(self, ids: np.ndarray) -> None:
        self._order = np.argsort(ids, kind="stable")
        self._ids = ids[self._order]

    def __call__(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For ids int64 [B], positions in [0, N), and which of them are right, bool [B]."""
        at = np.searchsorted(self._ids, ids).clip(max=len(self._ids) - 1)
        return self._order[at], self._ids[at] == ids


class RawRows:
    """The rows behind a batch, as they came: what a model from elsewhere was fitted on.

    A row is looked up by its id. Where `x` is another than that of the row, as in a view or between two rows, it was
    made up, and is turned back into a row as well as its numbers tell.

    Args:
        examples: of the run.
    """

    def __init__(self, examples: Examples) -> None:
        known = examples.preprocessing
        self._known = known if isinstance(known, TablePreprocessing) else None
        self._rows = examples.rows if isinstance(examples.rows, Rows) else None
        self._x = examples.tensors["x"].numpy() if self._rows is not None else np.zeros((0, 0))
        self._lookup = Lookup(examples.tensors["id"].numpy())
        self.names: list[str] = [column.name for column in self._known.columns] if self._known is not None else []
        """The columns, in their order; none of data that are no table."""
        self.framed = self._rows is not None and self._rows.framed
        """Whether the rows came with names, as a data frame or a file, and not as an array."""

    def frame(self, batch: Batch) -> Frame:
        """The rows as a pandas data frame [B]; what is missing is NaN."""
        try:
            import pandas
        except ImportError as error:
            raise MissingExtraError("pandas", "data", "A teacher that was fitted on named columns") from error
        x, known = batch["x"].detach().flatten(1).float().cpu().numpy(), self._known
        if known is None or x.shape[1:] != known.shape:
            width = 0 if known is None else known.shape[0]
            raise TeacherError(f"The batch's x has {x.shape[1]} columns, but the data's columns make {width}.")
        if self._rows is None:
            return pandas.DataFrame(known.decode(x))
        positions, there = self._lookup(batch["id"].cpu().numpy())
        same = there & (self._x[positions] == x).all(axis=1)
        found = self._rows.frame(positions)
        if same.all():
            return found
        made = known.decode(x[~same])
        return pandas.DataFrame({name: _joined(found[name], same, made[name]) for name in found})

    def reader(self, preprocessing: TablePreprocessing) -> Callable[[Batch], Tensor]:
        """What gives a teacher its inputs of a batch, as its own preprocessing has them."""
        return partial(self._read, preprocessing)

    def _read(self, preprocessing: TablePreprocessing, batch: Batch) -> Tensor:
        return preprocessing.encode(self.frame(batch)).tensors["x"]

    def numbers(self, batch: Batch, width: int) -> np.ndarray | None:
        """The rows' own numbers, float64 [B, width], where they are so many and nothing else; None where not."""
        rows = self._rows
        if rows is None or width != len(self.names) or not all(rows[name].dtype.kind in NUMERIC for name in rows):
            return None
        return self.frame(batch).to_numpy(dtype=np.float64, copy=True)

    def columns(self, batch: Batch, types: Mapping[str, type]) -> dict[str, np.ndarray]:
        """Some columns [B, 1] as graphs take them: numbers of their type, words where it is `object`.

        Raises:
            TeacherError: a column has gaps or words where whole numbers belong.
        """
        frame, found = self.frame(batch), dict[str, np.ndarray]()
        for name, kind in types.items():
            if kind is np.object_:
                codes, words = words_of(frame[name])
                # The last one is where the code -1 of a missing cell points to.
                found[name] = np.array([*words, ""], dtype=object)[codes, None]
                continue
            numbers, bad = numbers_of(frame[name])
            gaps = np.isnan(numbers) if issubclass(kind, np.integer) else bad
            if other := int((bad | gaps).sum()):
                raise TeacherError(
                    f"The teacher takes {name!r} as {np.dtype(kind)}, but {other} cells of the column hold something "
                    "else. Fill its gaps, or export the model for floats."
                )
            found[name] = numbers.astype(kind)[:, None]
        return found


def _joined(found: Column, same: np.ndarray, made: np.ndarray) -> Column:
    """A column of rows that were looked up, and, where they are not the same, of rows that were made up."""
    import pandas

    if made.dtype.kind == "M" and found.dtype.kind != "M":
        written = np.datetime_as_string(made).astype(object)
        made = np.where(np.isnat(made), np.array(np.nan, dtype=object), written)
    if made.dtype.kind == "O" and found.dtype.kind in NUMERIC:
        made = np.array([np.nan if value is None else float(value) for value in made])
    return pandas.concat([found[same], pandas.Series(made, index=np.flatnonzero(~same))]).sort_index()


class TranslatedTeacher(WrappingTeacher):
    """Stands before a teacher that reads rows, or answers a regression, as its own training rows said.

    Args:
        teacher: the one that answers in the end.
        scale: the unit in which the student learns a regression; None for a classification.
        own: the unit in which the teacher answers; None for the user's.
        look: gives the teacher's `x` of a batch; None where it looks at `x` as it is.
    """

    def __init__(
        self,
        teacher: Teacher,
        *,
        scale: Scale | None,
        own: Scale | None = None,
        look: Callable[[Batch], Tensor] | None = None,
    ) -> None:
        super().__init__(teacher)
        self._scale, self._own, self._reader = scale, own, look

    def _look(self, batch: Batch) -> Batch:
        """The batch with the inputs that the teacher takes."""
        if self._reader is None:
            return batch
        return Batch({**batch, "x": self._reader(batch).to(batch["id"].device)})

    def _change(self, signal: Signal, batch: Batch) -> Signal:
        """The answer in the student's unit, where it is a number."""
        if self._scale is None or self._scale == self._own:
            return signal
        if isinstance(signal, Labels) and signal.labels.is_floating_point() and signal.labels.ndim == 1:
            return dataclasses.replace(signal, labels=self._convert(signal.labels))
        if isinstance(signal, Logits | Features) and signal.logits is not None:
            return dataclasses.replace(signal, logits=self._convert(signal.logits))
        return signal

    def _convert(self, values: Tensor) -> Tensor:
        assert self._scale is not None
        return self._scale.apply(values if self._own is None else self._own.invert(values))


def translate(teacher: Teacher, scale: Scale | None, look: Callable[[Batch], Tensor] | None = None) -> Teacher:
    """A frozen teacher that answers in the user's unit, as one that answers in the student's.

    One that changes with the student, such as its average, answers as the student does. See `TranslatedTeacher`.
    """
    same = scale is None and look is None
    changing = not getattr(teacher, "frozen", True)
    return teacher if same or changing else TranslatedTeacher(teacher, scale=scale, look=look)
