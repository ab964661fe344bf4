"""Checks of decision trees from a file.

scikit-learn follows the node indices of a fitted tree without checking them, so that a file with invalid ones could
read memory outside the tree. skops leaves that to its user; with these checks, forests can be loaded without asking.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from didact.errors import TeacherError

CHECKED_TYPES = (
    "sklearn.tree._tree.Tree",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
)
"""Types that skops does not trust for this reason, and that `check_trees` makes safe."""


def check_trees(estimator: object) -> None:
    """Check every decision tree inside a loaded estimator.

    Raises:
        TeacherError: a tree's nodes point outside the tree or its features, or its ensemble has other features.
    """
    from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
    from sklearn.ensemble._forest import BaseForest

    # These pass their matrix to their trees unchecked.
    ensembles = BaseForest | GradientBoostingClassifier | GradientBoostingRegressor
    for part in _parts(estimator):
        if hasattr(part, "tree_"):
            tree, features = part.tree_, part.n_features_in_
            _require(tree.n_features == features)
            inner = tree.children_left != -1
            _check_nodes(tree.children_left, tree.children_right, tree.feature, inner, features)
        elif hasattr(part, "_predictors"):
            for predictor in _parts(part._predictors):
                if hasattr(predictor, "nodes"):
                    _check_predictor(predictor, part)
        elif isinstance(part, ensembles):
            for member in np.asarray(part.estimators_, dtype=object).ravel():
                _require(member.n_features_in_ == part.n_features_in_)


def _check_predictor(predictor: Any, ensemble: Any) -> None:
    nodes, features = predictor.nodes, ensemble.n_features_in_
    inner = nodes["is_leaf"] == 0
    _check_nodes(nodes["left"], nodes["right"], nodes["feature_idx"], inner, features)
    chosen = nodes[inner & (nodes["is_categorical"] != 0)]
    if not len(chosen):
        return
    # Such a node looks up a set of 256 bits of its own, and another of its feature among the categorical ones.
    mapped, sets = np.asarray(ensemble._bin_mapper.is_categorical_), predictor.raw_left_cat_bitsets
    _require(mapped.shape == (features,) and bool((mapped[chosen["feature_idx"]] != 0).all()))
    _require(isinstance(sets, np.ndarray) and sets.dtype == np.uint32 and sets.ndim == 2 and sets.shape[1] == 8)
    _require(bool((chosen["bitset_idx"] < len(sets)).all()))


def _check_nodes(left: np.ndarray, right: np.ndarray, feature: np.ndarray, inner: np.ndarray, features: int) -> None:
    count = len(left)
    _require(count > 0)
    for child in (left.astype(np.int64), right.astype(np.int64)):
        # A child comes after its parent, so that following children terminates.
        _require(bool((child[inner] > np.flatnonzero(inner)).all() and (child[inner] < count).all()))
    _require(bool((feature[inner] >= 0).all() and (feature[inner] < features).all()))


def _require(holds: bool) -> None:
    if not holds:
        raise TeacherError(
            "A decision tree in the file is broken: its nodes point outside the tree, its features or its categories. "
            "Save the teacher again, or convert it to ONNX."
        )


def _parts(root: object) -> Iterator[Any]:
    """An object and all its components, recursively, each once."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        part = waiting.pop()
        if id(part) in seen or isinstance(part, str | bytes | int | float | type):
            continue
        seen.add(id(part))
        yield part
        if isinstance(part, Mapping):
            waiting.extend(part.values())
        elif isinstance(part, Sequence | set | frozenset) or (isinstance(part, np.ndarray) and part.dtype == object):
            waiting.extend(part.ravel() if isinstance(part, np.ndarray) else part)
        elif hasattr(part, "__dict__"):
            waiting.extend(vars(part).values())
