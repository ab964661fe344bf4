"""A scikit-learn-style estimator as a teacher."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from didact.errors import MissingExtraError, TeacherError
from didact.teachers.base import BaseTeacher, reorder
from didact.teachers.classes import align, check_count
from didact.teachers.files import check_not_pickled
from didact.teachers.tables import RawRows, check_columns, matrix
from didact.teachers.trees import CHECKED_TYPES, check_trees
from didact.types import Batch, Labels, Task


class EstimatorTeacher(BaseTeacher):
    """A fitted estimator with `predict_proba` (or `predict`, for a regression).

    It computes on the CPU; its signals are moved to the batch's device.

    Args:
        estimator: a fitted estimator. Where it has `classes_`, they are aligned with the data's. Where it has
            `feature_names_in_`, it is given a DataFrame with these columns, as they came; otherwise a matrix of
            `n_features_in_` columns: the rows' own numbers where they are so many, else `x` itself, flattened.
        classes: the data's class names, in the order of the label numbers; empty for a regression.
        rows: the rows behind the batches, for data that are a table.
        task: `classification` or `regression`.
        view: name of the view of the batch that it reads, where the batch has that view.

    Raises:
        TeacherError: the estimator lacks the method, or doesn't fit the data's classes or columns.
    """

    kind = "an estimator"

    def __init__(
        self,
        estimator: Any,
        *,
        classes: Sequence[str] = (),
        rows: RawRows | None = None,
        task: Task = "classification",
        view: str | None = None,
    ) -> None:
        super().__init__(view=view)
        self.estimator, self.classes, self.rows, self.task = estimator, tuple(classes), rows, task
        wanted = "predict_proba" if task == "classification" else "predict"
        self._predict: Any = getattr(estimator, wanted, None)
        if not callable(self._predict):
            calibrated = "Fit one that has, or wrap it in sklearn.calibration.CalibratedClassifierCV."
            raise TeacherError(
                f"The teacher is a {type(estimator).__name__}, which has no {wanted}. "
                f"{calibrated if task == 'classification' else 'Fit a regressor.'}"
            )
        self._order = None
        if task == "classification" and getattr(estimator, "classes_", None) is not None:
            own = estimator.classes_
            if isinstance(own, list) and own and isinstance(own[0], np.ndarray):
                raise TeacherError("The estimator predicts several targets at once; fit one on a single target.")
            self._order = align(np.asarray(own).tolist(), classes)
        self._names = [str(name) for name in getattr(estimator, "feature_names_in_", ())]
        self._width: int = getattr(estimator, "n_features_in_", 0)
        if not set(self._names) <= set(() if rows is None else rows.names):
            check_columns(self._names, () if rows is None else rows.names)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        classes: Sequence[str] = (),
        rows: RawRows | None = None,
        task: Task = "classification",
        trust: Sequence[str] = (),
        view: str | None = None,
    ) -> Self:
        """Load an estimator that was saved with `skops.io.dump`.

        Args:
            path: of a `.skops` file.
            classes: see the class.
            rows: see the class.
            task: see the class.
            trust: full names of types in the file to be trusted beyond those of scikit-learn, NumPy and SciPy that
                skops knows to be harmless. Decision trees are trusted after a check of their nodes.
            view: see the class.

        Raises:
            TeacherError: the file is a pickle (never opened), no estimator, or has types that aren't trusted.
            MissingExtraError: skops or scikit-learn is not installed.
        """
        estimator = load_skops(path, trust=trust)
        return cls(estimator, classes=classes, rows=rows, task=task, view=view)

    def signal(self, batch: Batch) -> Labels:
        """Predict a batch.

        Returns:
            `Labels` of probabilities float32 [B, C] in the data's class order, or of targets float64 [B].

        Raises:
            TeacherError: the batch or the estimator's prediction has the wrong shape.
        """
        seen = self._look(batch)
        if self._names and self.rows is not None:
            x = self.rows.frame(seen)[self._names]
        else:
            own = None if self.rows is None else self.rows.numbers(seen, self._width)
            x = matrix(seen) if own is None else own
            self._check_width(x.shape[1])
        try:
            answer = self._predict(x)
        except (ValueError, TypeError, KeyError) as error:
            raise TeacherError(
                f"The estimator cannot answer rows of these data: {' '.join(str(error).split())[:300].rstrip('. ')}. "
                "Fit it on rows as they are in the file, with a pipeline that also fills gaps and encodes words."
            ) from error
        answer = self._checked(answer, batch.size)
        self.count(seen)
        exact = np.float64 if self.task == "regression" else np.float32
        labels = torch.from_numpy(np.ascontiguousarray(answer, dtype=exact))
        return Labels(labels=reorder(labels, self._order).to(batch["id"].device))

    def _checked(self, answer: Any, size: int) -> np.ndarray:
        if isinstance(answer, list):
            raise TeacherError("The estimator predicts several targets at once; fit one on a single target.")
        answer = np.asarray(answer)
        if self.task == "regression":
            answer = answer.reshape(size, -1)
            if answer.shape[1] != 1:
                raise TeacherError(f"The estimator predicts {answer.shape[1]} targets; fit one on a single target.")
            answer = answer[:, 0]
        else:
            check_count(answer.shape[-1], self.classes, self.kind)
        if not np.isfinite(answer).all():
            raise TeacherError(
                "The estimator's prediction is not finite on some examples; check that it was fitted on similar data."
            )
        return answer

    def _check_width(self, width: int) -> None:
        if self._width not in (0, width):
            raise TeacherError(
                f"The estimator was fitted on {self._width} features, but an example has {width} numbers. Fit it on "
                "the same columns, in the same encoding; or on a DataFrame with named columns, which are then matched."
            )


def load_skops(path: str | Path, *, trust: Sequence[str] = ()) -> Any:
    """Load a file of `skops.io.dump`; see `EstimatorTeacher.load` for arguments and errors."""
    path = check_not_pickled(path)
    if path.suffix.lower() != ".skops":
        raise TeacherError(
            f'{path} is no .skops file. Save the estimator with skops.io.dump(model, "teacher.skops"), or convert it '
            "to ONNX."
        )
    try:
        import skops.io
    except ImportError as error:
        raise MissingExtraError("skops", "foreign", "A teacher in a .skops file") from error
    try:
        unknown = set(skops.io.get_untrusted_types(file=path))
    except Exception as error:
        raise TeacherError(f"{path} can't be read as a .skops file: {error}. Save the estimator again.") from error
    refused = sorted(unknown - set(trust) - set(CHECKED_TYPES))
    if refused:
        raise TeacherError(
            f"{path} holds types that aren't trusted: {', '.join(refused)}. Where you trust who made the file, name "
            f"them with trust ({' '.join(f'--trust {name}' for name in refused)})."
        )
    try:
        estimator = skops.io.load(path, trusted=sorted(unknown))
    except Exception as error:
        raise TeacherError(f"{path} can't be loaded: {type(error).__name__}: {error}. Save it again.") from error
    check_trees(estimator)
    return estimator
