"""Students of a table that scikit-learn fits to a teacher's answers: one tree, a few boosted ones, a linear model.

Each reads the same encoded columns as a net, and becomes a module, so that it is saved, loaded and exported as one.

A classifier is taught on the teacher's probabilities. A single tree is a regression of all of them at once: its
squared error chooses the splits that Gini's impurity of weighted copies would choose, and the mean in a leaf is the
probability. The others get a copy of a row for each class, weighted by the teacher's probability of the class, which
makes their log-loss the cross-entropy to the teacher; a regression on logits would be ruled by answers near 0 and 1,
where a forest's logits are infinite. Regressors are fitted to the teacher's numbers.
"""

import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from didact.errors import ConfigError, MissingExtraError
from didact.learners import ModuleLearner
from didact.learners.trees import Tree, Trees
from didact.parts.part import ForExamples

LEAST = 1e-6
"""The least probability in a leaf."""
NEGLIGIBLE = 1e-3
"""The weight below which a copy is left out."""
LEAVES, LEAF_ROWS, RATE = 31, 5, 0.1
"""Leaves of a boosted tree; the least rows in a leaf of a single one; the least rate of boosting."""


def is_estimator(student: str) -> bool:
    """Whether a candidate is fitted here, and not trained as a net."""
    return student.partition(":")[0] in _KINDS


def check(student: str) -> None:
    """Refuse a candidate that cannot be read.

    Raises:
        ConfigError: Its size is missing or no number, or it has one where there is none.
    """
    kind, _, size = student.partition(":")
    if not re.fullmatch("" if kind == "linear" else r"[1-9]\d{0,5}", size) or (kind == "tree" and int(size) < 2):
        raise ConfigError(
            f"students has {student!r}, but estimators are written linear, tree:LEAVES (2 or more) or boosted:TREES, "
            "such as tree:16."
        )


def fit(student: str, x: np.ndarray, answers: np.ndarray, purpose: ForExamples) -> tuple[ModuleLearner, str]:
    """Fit an estimator to a teacher's answers.

    Args:
        student: `linear`, `tree:LEAVES` or `boosted:TREES`.
        x: encoded rows, float32 [N, F].
        answers: float64 [N, C], probabilities; or [N, 1], numbers.
        purpose: of the student, with its seed.

    Returns:
        A learner with what was fitted, and the spec that builds it again.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        import sklearn.exceptions
    except ImportError as error:
        raise MissingExtraError("scikit-learn", "data", f"The student {student!r}") from error
    kind, _, size = student.partition(":")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sklearn.exceptions.ConvergenceWarning)
        return _KINDS[kind](x, answers, int(size or 0), purpose)


def _fit_tree(x: np.ndarray, answers: np.ndarray, leaves: int, purpose: ForExamples) -> tuple[ModuleLearner, str]:
    from sklearn.tree import DecisionTreeRegressor

    found: Any = DecisionTreeRegressor(max_leaf_nodes=leaves, min_samples_leaf=LEAF_ROWS, random_state=purpose.seed)
    grown = found.fit(x, answers).tree_
    value = grown.value[:, :, 0]
    if purpose.examples.task == "classification":
        value = np.log(np.maximum(value, LEAST))
    tree = Tree(
        left=grown.children_left,
        right=grown.children_right,
        feature=grown.feature,
        threshold=grown.threshold,
        value=value,
    )
    return _as_student(Trees.of([tree], np.zeros(answers.shape[1])))


def _fit_boosted(x: np.ndarray, answers: np.ndarray, trees: int, purpose: ForExamples) -> tuple[ModuleLearner, str]:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    # Few trees must take large steps to get anywhere.
    settings: dict[str, Any] = {
        "max_iter": trees,
        "max_leaf_nodes": LEAVES,
        "learning_rate": max(RATE, min(0.5, 5 / trees)),
    }
    settings |= {"early_stopping": False, "random_state": purpose.seed}
    if purpose.examples.task == "regression":
        model: Any = HistGradientBoostingRegressor(**settings).fit(x, answers[:, 0])
        return _as_student(_read_boosted(model, np.zeros(1), np.array([0])))
    rows, classes, weights = soft_copies(answers)
    floor = np.full(answers.shape[1], np.log(LEAST))
    present = np.unique(classes)
    if len(present) == 1:
        floor[present] = 0.0
        return _as_student(Trees.of([_leaf(len(floor))], floor))
    floor[present] = 0.0
    model = HistGradientBoostingClassifier(**settings).fit(x[rows], classes, sample_weight=weights)
    # Of two classes, one set of trees gives the logit of the second.
    return _as_student(_read_boosted(model, floor, present if len(present) > 2 else present[1:]))


def _fit_linear(x: np.ndarray, answers: np.ndarray, _size: int, purpose: ForExamples) -> tuple[ModuleLearner, str]:
    from sklearn.linear_model import LogisticRegression, Ridge

    learner = purpose.open("mlp:", "student").model
    assert isinstance(learner, ModuleLearner) and isinstance(learner.module, nn.Sequential) and learner.head is not None
    with torch.no_grad():
        scaled = learner.module[:-1](torch.from_numpy(x)).double().numpy()
    weight, bias = np.zeros(learner.head.weight.shape), np.zeros(answers.shape[1])
    if purpose.examples.task == "regression":
        ridge: Any = Ridge().fit(scaled, answers[:, 0])
        weight[0], bias[0] = ridge.coef_, ridge.intercept_
    else:
        rows, classes, weights = soft_copies(answers)
        present = np.unique(classes)
        bias = np.full(answers.shape[1], np.log(LEAST))
        bias[present] = 0.0
        if len(present) > 1:
            model: Any = LogisticRegression(max_iter=500).fit(scaled[rows], classes, sample_weight=weights)
            at = present if len(present) > 2 else present[1:]
            weight[at], bias[at] = model.coef_, model.intercept_
    with torch.no_grad():
        learner.head.weight.copy_(torch.from_numpy(weight))
        learner.head.bias.copy_(torch.from_numpy(bias))
    return learner, "mlp:"


_KINDS: dict[str, Callable[[np.ndarray, np.ndarray, int, ForExamples], tuple[ModuleLearner, str]]] = {
    "linear": _fit_linear,
    "tree": _fit_tree,
    "boosted": _fit_boosted,
}


def soft_copies(probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows that stand for soft labels in an estimator that takes weighted hard ones.

    Args:
        probabilities: float64 [N, C].

    Returns:
        The number of a row, a class and its weight, [M] each: a copy for each class that has a probability worth one.
    """
    rows, classes = np.nonzero(probabilities >= NEGLIGIBLE)
    return rows, classes, probabilities[rows, classes]


def _read_boosted(model: Any, bias: np.ndarray, outputs: np.ndarray) -> Trees:
    """The trees of a histogram gradient boosting, each of which adds to one output."""
    bias = bias.copy()
    bias[outputs] = np.ravel(model._baseline_prediction)
    trees = []
    for stage in model._predictors:
        for output, predictor in zip(outputs, stage, strict=True):
            nodes = predictor.nodes
            leaf = nodes["is_leaf"].astype(bool)
            value = np.zeros((len(nodes), len(bias)))
            value[:, output] = nodes["value"]
            trees.append(
                Tree(
                    left=np.where(leaf, -1, nodes["left"].astype(np.int64)),
                    right=np.where(leaf, -1, nodes["right"].astype(np.int64)),
                    feature=nodes["feature_idx"].astype(np.int64),
                    threshold=nodes["num_threshold"],
                    value=value,
                )
            )
    return Trees.of(trees, bias)


def _leaf(outputs: int) -> Tree:
    end = np.array([-1])
    return Tree(left=end, right=end, feature=end, threshold=np.zeros(1), value=np.zeros((1, outputs)))


def _as_student(trees: Trees) -> tuple[ModuleLearner, str]:
    return ModuleLearner(trees), f"trees:{len(trees.feature)},{len(trees.root)},{trees.depth}"
