"""Distillation as estimators of scikit-learn."""

import copy
from collections.abc import Iterable, Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from didact.documents import Document
from didact.errors import ConfigError, DataError, MissingExtraError
from didact.experiment.running import split_arguments, teach
from didact.materials.examples.data import open_whole
from didact.parts.student import Answers
from didact.sources.objects import is_frame
from didact.teachers.classes import canonical
from didact.types import Task

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
    from sklearn.utils import Tags, assert_all_finite, check_consistent_length, check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data
except ImportError as error:
    raise MissingExtraError("scikit-learn", "data", "didact.Distiller") from error

OWN = (
    *("method", "student", "teacher", "data", "target", "task", "seed", "progress", "steps", "lr", "batch_size"),
    *("validation", "test", "split_seed", "labels", "directory"),
)
"""Settings of a run that a distiller gives itself."""


class _Distilled(BaseEstimator):
    """Abstract: an estimator whose net a run of didact teaches; see `Distiller` for the arguments."""

    student_: Any
    """The student, a `didact.Student`."""
    teacher_: Any
    """The teacher, fitted."""
    n_features_in_: int
    """The number of columns."""

    def __init__(
        self,
        teacher: object = None,
        *,
        student: object = "auto",
        method: str = "distill",
        steps: int = 1000,
        lr: float | None = None,
        batch_size: int = 64,
        random_state: int | np.random.RandomState | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        self.teacher = teacher
        self.student = student
        self.method = method
        self.steps = steps
        self.lr = lr
        self.batch_size = batch_size
        self.random_state = random_state
        self.settings = settings

    def __sklearn_tags__(self) -> Tags:
        """What scikit-learn may expect: gaps are filled."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _fit(self, X: Any, y: ArrayLike, task: Task) -> None:
        settings = self._settings(task)
        self._framed = bool(is_frame(X))
        self.teacher_ = self._fitted_teacher(X, y)
        given: object = (X, y)
        if self._framed:
            settings["target"] = "target" + "_" * (max(len(str(name)) for name in X.columns) + 1)
        config, objects = split_arguments(
            data=given, student=copy.deepcopy(self.student), teacher=self.teacher_, **settings
        )
        data = open_whole(config, given)
        if task == "classification":
            self._order = _places(np.unique(y).tolist(), data.examples.classes)
        self.student_ = teach(config, objects, data)

    def _settings(self, task: Task) -> Document:
        further = dict(self.settings or {})
        if repeated := sorted(set(further) & set(OWN)):
            raise ConfigError(
                f"settings has {repeated[0]!r}, which a distiller decides by its arguments and by the rows that fit is "
                "given; leave it out of settings."
            )
        seed = self.random_state
        if not isinstance(seed, int | np.integer):
            seed = check_random_state(seed).randint(2**31 - 1)
        own = {"method": self.method, "task": task, "seed": int(seed), "steps": self.steps, "lr": self.lr}
        return {**own, "batch_size": self.batch_size, "progress": False, **further}

    def _fitted_teacher(self, X: object, y: ArrayLike) -> Any:
        def fitted(one: Any) -> Any:
            estimates = hasattr(one, "fit") and hasattr(one, "get_params") and not isinstance(one, type)
            if not estimates:
                return copy.deepcopy(one)
            copied: Any = clone(one)
            return copied.fit(X, y)

        given = self.teacher
        return [fitted(one) for one in given] if isinstance(given, list | tuple) else fitted(given)

    def _checked(self, X: Any, y: Any, task: Task) -> tuple[Any, Any]:
        """Rows and answers, as scikit-learn checks them."""
        if not is_frame(X):
            numeric = task == "regression"
            options = {"ensure_all_finite": "allow-nan", "ensure_min_samples": 2, "y_numeric": numeric}
            checked: Any = validate_data(self, X, y, **options)
            return checked
        X, y = validate_data(self, X, y, skip_check_array=True)
        y = column_or_1d(y, warn=True)
        assert_all_finite(y)
        check_consistent_length(X, y)
        return X, y

    def _answers(self, X: Any) -> Answers:
        check_is_fitted(self)
        if is_frame(X) and self._framed:
            return self.student_.predict(validate_data(self, X, reset=False, skip_check_array=True))
        return self.student_.predict(validate_data(self, X, reset=False, ensure_all_finite="allow-nan"))


class Distiller(ClassifierMixin, _Distilled):
    """A classifier of scikit-learn: a student that a teacher teaches, on all rows that `fit` is given.

    The arguments are those of `didact.run`, except for these:

    Args:
        teacher: see `didact.run`. An estimator of scikit-learn is cloned and fitted to the rows that `fit` is given, as
            in every meta-estimator, so that cross-validation stays honest; a `sklearn.frozen.FrozenEstimator` is used
            as it is. None for methods without a teacher.
        random_state: the seed of a run; None draws one.
        settings: further settings of `didact.run` by name, such as `{"temperature": 4.0}`.

    Examples:
        >>> from sklearn.datasets import load_wine
        >>> from sklearn.ensemble import RandomForestClassifier
        >>> X, y = load_wine(return_X_y=True)
        >>> forest = RandomForestClassifier(5, random_state=0)
        >>> distiller = didact.Distiller(forest, student="mlp:8", steps=200, lr=0.01, random_state=0).fit(X, y)
        >>> distiller.predict_proba(X[:2]).shape
        (2, 3)
        >>> distiller.score(X, y) > 0.8
        True
    """

    classes_: np.ndarray
    """The classes, [C]."""

    def fit(self, X: Any, y: ArrayLike) -> Self:
        """Fit the teacher, if it is an estimator, and teach the student.

        Args:
            X: [N, F], a data frame with columns of any kind, or numbers; NaN is missing.
            y: [N], the classes; at least two.

        Raises:
            ValueError: These cannot be learned from.
        """
        X, y = self._checked(X, y, "classification")
        check_classification_targets(y)
        self.classes_ = np.unique(np.asarray(y))
        if len(self.classes_) < 2:
            raise DataError(f"y holds the class {self.classes_[0]!r} alone; give rows of at least two classes.")
        self._fit(X, y, "classification")
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class, float64 [N, C], in the order of `classes_`."""
        return self._answers(X).probabilities[:, self._order]

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest class of each row, [N]."""
        places = self.predict_proba(X).argmax(1)
        return self.classes_[places]


class DistillerRegressor(RegressorMixin, _Distilled):
    """A regressor of scikit-learn: a student that a teacher teaches, on all rows that `fit` is given.

    The arguments are those of `didact.Distiller`.
    """

    def fit(self, X: Any, y: ArrayLike) -> Self:
        """Fit the teacher, if it is an estimator, and teach the student.

        Args:
            X: [N, F], a data frame with columns of any kind, or numbers; NaN is missing.
            y: [N], the targets.

        Raises:
            ValueError: These cannot be learned from.
        """
        X, y = self._checked(X, y, "regression")
        self._fit(X, y, "regression")
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The predicted values in the unit of y, float64 [N]."""
        return self._answers(X).values


def _places(classes: Iterable[object], names: Iterable[str]) -> list[int]:
    """By class, the place of its name."""
    known = {canonical(name): place for place, name in enumerate(names)}
    found = [(one, known.get(canonical(str(one)))) for one in classes]
    for one, place in found:
        if place is None:
            raise DataError(f"y holds {one!r}, which means a missing answer; give the class another name.")
    return [place for _, place in found if place is not None]
