"""A function as a teacher."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from didact.errors import TeacherError
from didact.teachers.base import BaseTeacher, reorder
from didact.teachers.classes import align, canonical, check_count, pixel_rows
from didact.teachers.tables import RawRows
from didact.types import Batch, Labels, Logits, Signal, Task


class FunctionTeacher(BaseTeacher):
    """A function of the rows of a batch, called without gradients.

    Of data that came as a data frame or as a file of a table, it is given a data frame with the rows as they came; of
    all others a tensor, float32 [B, ...] on the batch's device, or float64 for arrays with gaps, and series as they
    came.

    Its answer is a tensor, an array, a list, or an object of pandas. For classes:

    - a row of numbers for each example, [B, C], in the order of the data's classes, or as the columns of a data frame
      are named. They are probabilities if in the first batch all are in [0, 1] and each row sums to 1 to within 1e-3,
      and logits otherwise;
    - a class for each example, [B], by its name in the data, which gets probability 1; 1, 1.0 and "1" are the same.

    For a regression, it is a number for each example, [B] or [B, 1], in the user's unit. For masks, it is scores
    [B, C, H, W], or the number of each pixel's class, [B, H, W].

    Args:
        function: the function.
        classes: the data's class names, in the order of the label numbers; empty for a regression.
        rows: the rows behind the batches, for data that are a table.
        task: `classification`, `regression` or `segmentation`.
        view: name of the view of the batch that it reads, where the batch has that view.
    """

    kind = "a function"

    def __init__(
        self,
        function: Callable[..., object],
        *,
        classes: Sequence[str] = (),
        rows: RawRows | None = None,
        task: Task = "classification",
        view: str | None = None,
    ) -> None:
        super().__init__(view=view)
        self.function, self.classes, self.rows, self.task = function, tuple(classes), rows, task
        self._numbers = {canonical(name): place for place, name in enumerate(self.classes)}
        self._probable: bool | None = None

    def signal(self, batch: Batch) -> Signal:
        """Ask the function about a batch.

        Returns:
            `Labels` of probabilities float32 [B, C] or of targets float64 [B]; or `Logits` float32 [B, C]. Classes are
            in the data's order. Of masks, a row for each pixel, [B * H * W, C].

        Raises:
            TeacherError: the function fails, or its answer has another form.
        """
        seen = self._look(batch)
        given = self._given(seen)
        try:
            with torch.no_grad():
                answer = self.function(given)
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300].rstrip(". ")
            shape = list(getattr(given, "shape", ()))
            raise TeacherError(
                f"The teacher is a function, which was given a {type(given).__name__} of shape {shape}, and raised "
                f"{reason}. Correct it, or give data of the kind that it takes."
            ) from error
        self.count(seen)
        return self._read(answer, batch.size, batch["id"].device)

    def _given(self, batch: Batch) -> object:
        if self.rows is not None and self.rows.framed:
            return self.rows.frame(batch)
        if "x" not in batch:
            raise TeacherError(
                "The teacher is a function, which is given numbers or columns, but the data are texts; give an object "
                "with signal(batch), or a spec such as hf:DIRECTORY."
            )
        own = None if self.rows is None else self.rows.numbers(batch, len(self.rows.names))
        return batch["x"] if own is None else torch.from_numpy(own).to(batch["id"].device)

    def _read(self, answer: object, size: int, device: torch.device) -> Signal:
        order = None
        if self.classes and hasattr(answer, "columns"):
            order = align(list(getattr(answer, "columns")), self.classes)  # noqa: B009
        given = _array(answer)
        values = self._of_pixels(given) if self.task == "segmentation" else given
        if values.shape[:1] != (size,) or values.ndim > 2:
            kind, form = (
                ("example", "one row") if values is given else ("pixel", "scores [B, C, H, W] or a class [B, H, W]")
            )
            raise TeacherError(
                f"The teacher is a function that answers {size} {kind}s with the shape {list(given.shape)}; return "
                f"{form} for each {kind}."
            )
        if self.task == "regression":
            return Labels(labels=_targets(values, size).to(device))
        if values.ndim == 1:
            return Labels(labels=self._named(values).to(device))
        check_count(values.shape[1], self.classes, self.kind)
        scores = reorder(_finite(values).float(), order).to(device)
        probable = bool(((scores >= 0) & (scores <= 1)).all() and ((scores.sum(1) - 1).abs() <= SUM_ERROR).all())
        if self._probable is None:
            self._probable = probable
        if self._probable and not probable:
            raise TeacherError(
                "The teacher is a function whose answers were probabilities at first, but now are not in [0, 1] or do "
                "not sum to 1; return probabilities for all examples, or logits for all."
            )
        return Labels(labels=scores) if self._probable else Logits(logits=scores)

    def _of_pixels(self, values: np.ndarray) -> np.ndarray:
        """Answers to images as those to their pixels, where classes [B, H, W] get their names."""
        if values.ndim == 3 and values.dtype.kind in "iu":
            if values.min() < 0 or values.max() >= len(self.classes):
                raise TeacherError(
                    f"The teacher is a function that answers with the classes {values.min()} to {values.max()} of "
                    f"pixels, but the data have {len(self.classes)}; number them from 0."
                )
            return np.array(self.classes, dtype=object)[values].reshape(-1)
        return pixel_rows(values)

    def _named(self, values: np.ndarray) -> Tensor:
        """The probabilities [B, C] of names of classes [B]."""
        found = [self._numbers.get(canonical(str(name))) for name in values.tolist()]
        if None in found:
            odd = values.tolist()[found.index(None)]
            shown = ", ".join(map(repr, self.classes[:8])) + (", ..." if len(self.classes) > 8 else "")
            raise TeacherError(
                f"The teacher is a function that answers {odd!r}, which is no class of the data: {shown}. Return names "
                "of classes [B], or probabilities or logits [B, C]."
            )
        return torch.eye(len(self.classes))[found]


SUM_ERROR = 1e-3
"""How much the sum of a row of probabilities may differ from 1."""


def _array(answer: object) -> np.ndarray:
    if isinstance(answer, Tensor):
        answer = answer.detach().cpu()
        return (answer.float() if answer.dtype == torch.bfloat16 else answer).numpy()
    try:
        return np.asarray(answer)
    except ValueError:
        raise TeacherError("The teacher is a function that answers with rows of different lengths.") from None


def _finite(values: np.ndarray) -> Tensor:
    if values.dtype.kind not in "biuf" or not np.isfinite(values).all():
        raise TeacherError(
            "The teacher is a function whose answers are not all finite numbers; return numbers for every example."
        )
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float64))


def _targets(values: np.ndarray, size: int) -> Tensor:
    if values.size != size:
        raise TeacherError(
            f"The teacher is a function that answers {values.shape[1]} numbers for an example; return one."
        )
    return _finite(values).reshape(size)
