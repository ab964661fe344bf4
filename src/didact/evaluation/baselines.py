"""Cheap baselines, scored by the same metrics as everything else."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from didact.documents import Document
from didact.errors import ConfigError, DataError, MissingExtraError, check_choice
from didact.evaluation.measures import metrics
from didact.evaluation.pixelwise import pixel_gaussian_scores
from didact.evaluation.predictions import MASK, Predictions, predictions_of
from didact.types import MASK as PIXELS
from didact.types import Examples, is_labelled, pixel_labels

_SIDE = 32
"""Images are averaged down to at most this number of pixels per side."""

_NEIGHBOURS = 7
_LEAST = 1e-12
CONSTANTS = ("majority", "mean")
"""The baselines that give every example the same answer."""


def baselines_for(examples: Examples) -> tuple[str, ...]:
    """The baselines for some training examples, the cheapest first.

    Returns:
        For classification "majority", "label_spreading" if some examples have no label and they aren't text,
        "logistic_regression", and for tables and small images "boosted_trees"; for regression "mean", "ridge" and the
        same.
        For segmentation "majority" alone.
        "pixel_gaussian" too, if the examples have masks of defective pixels.
    """
    task, text = examples.task, examples.modality == "text"
    if task == "segmentation":
        return ("majority",)
    trees = not text and int(np.prod(examples.shape)) <= _SIDE**2
    found = ["ridge" if task == "regression" else "logistic_regression"]
    if task == "classification" and not text and not bool(is_labelled(examples.tensors["label"]).all()):
        found.insert(0, "label_spreading")
    found += ["boosted_trees"] if trees else []
    found.insert(0, "mean" if task == "regression" else "majority")
    return (*found, "pixel_gaussian") if MASK in examples.tensors and task == "classification" else tuple(found)


def baseline(name: str, train: Examples, test: Examples, *, seed: int = 0) -> dict[str, float]:
    """Fit a baseline and score it: the `metrics` of `baseline_predictions`."""
    return metrics(baseline_predictions(name, train, test, seed=seed))


def baseline_predictions(name: str, train: Examples, test: Examples, *, seed: int = 0) -> Predictions:
    """Fit a baseline on training examples and predict the test examples.

    Inputs are flattened; those of a table are standardised (except for trees), images larger than 32 pixels per side
    are averaged down, text becomes TF-IDF weights of its words and word pairs, or of its tokens if the strings are not
    available. `majority` predicts the shares of the classes and `mean` the mean of the labels for every example. The
    other estimators are scikit-learn's with its defaults: `label_spreading` on a graph of 7 nearest neighbours
    uses the unlabelled training examples too (never those of the test), `logistic_regression` and `ridge` (its penalty
    chosen by leave-one-out) are linear, `boosted_trees` are histogram gradient boosting. `pixel_gaussian` is ours, see
    there.

    Args:
        name: one of `baselines_for(train)`.
        train: examples, some of which may have no label.
        test: examples of the same kind.
        seed: of random parts.

    Raises:
        ConfigError: the baseline is unknown, or does not apply to these data.
        DataError: there are fewer than two classes among the training labels, or no labels.
        MissingExtraError: scikit-learn is not installed.
    """
    check_choice("baseline", name, (*_ESTIMATORS, *CONSTANTS, "pixel_gaussian"))
    fitting = baselines_for(train)
    usable = (*fitting, "label_spreading") if train.task == "classification" and train.modality != "text" else fitting
    if name not in usable:
        raise ConfigError(
            f"baseline is {name!r}, which is not for {train.modality} data of this {train.task}; "
            f"use {' or '.join(fitting)}."
        )
    if name == "pixel_gaussian":
        return pixel_gaussian_scores(train, test)
    if name in CONSTANTS:
        return constant_predictions(train, test)
    try:
        import sklearn.exceptions
    except ImportError:
        raise MissingExtraError("scikit-learn", "data", "A baseline") from None
    labels = train.tensors["label"].cpu()
    known = is_labelled(labels).numpy()
    _check_labels(labels.numpy()[known], train)
    train_x, test_x = _features(train, test, standardise=name != "boosted_trees")
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.simplefilter("ignore", sklearn.exceptions.ConvergenceWarning)
        model = _ESTIMATORS[name](train, int(known.sum()), seed)
        rows = slice(None) if name == "label_spreading" else known
        model.fit(train_x[rows], np.where(known, labels.numpy(), -1)[rows])
        return _ask(model, test_x, train, test)


def constant_predictions(train: Examples, test: Examples) -> Predictions:
    """The same answer for every test example: the shares of the classes, or the mean of the training labels.

    Args:
        train: examples, some of which may have no label.
        test: examples of the same kind.

    Raises:
        DataError: no training example has a label.
    """
    masks = train.task == "segmentation"
    label = (pixel_labels(train.tensors) if masks else train.tensors["label"]).cpu()
    label = label[is_labelled(label)]
    if not len(label):
        raise DataError("No training example has a label; a baseline needs some.")
    if train.task == "regression":
        answer = label.double().mean()[None]
    else:
        answer = (label.bincount(minlength=len(train.classes)) / len(label)).double().clamp(min=_LEAST).log()
    return predictions_of(answer.expand(test.tensors[PIXELS].numel() if masks else test.size, -1), test)


def _check_labels(labels: np.ndarray, train: Examples) -> None:
    if train.task == "classification" and len(np.unique(labels)) < 2:
        raise DataError(
            f"The {len(labels)} training labels are of {len(np.unique(labels))} class; a baseline needs at least two."
        )
    if not len(labels):
        raise DataError("No training example has a label; a baseline needs some.")


def _ask(model: Any, inputs: object, train: Examples, test: Examples) -> Predictions:
    if train.task == "regression":
        logits = np.asarray(model.predict(inputs), dtype=np.float64).reshape(-1, 1)
    else:
        found = np.asarray(model.predict_proba(inputs), dtype=np.float64)
        # A point of a graph that no label reaches has no probabilities: its prediction is uniform.
        found = np.where(np.isfinite(found).all(1, keepdims=True), found, 1 / found.shape[1])
        probs = np.zeros((len(found), max(len(train.classes), int(model.classes_.max()) + 1)))
        probs[:, model.classes_.astype(int)] = found
        logits = np.log(np.maximum(probs, _LEAST))
    return predictions_of(torch.from_numpy(logits), test)


def _features(train: Examples, test: Examples, *, standardise: bool) -> tuple[Any, Any]:
    """Two matrices with the same columns, dense or sparse; transformations are fitted on the training examples."""
    if train.modality == "text":
        return _text_features(train, test)
    pair = _flat(train), _flat(test)
    if train.modality != "table" or not standardise:
        return pair
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(pair[0])
    return scaler.transform(pair[0]), scaler.transform(pair[1])


def _flat(examples: Examples) -> np.ndarray:
    inputs = examples.tensors["x"].cpu().float()
    if examples.modality == "image" and max(inputs.shape[-2:]) > _SIDE:
        height, width = inputs.shape[-2:]
        inputs = torch.nn.functional.adaptive_avg_pool2d(inputs, (min(_SIDE, height), min(_SIDE, width)))
    return inputs.flatten(1).double().numpy()


def _text_features(train: Examples, test: Examples) -> tuple[Any, Any]:
    from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer

    if train.texts and test.texts and any(any(map(str.isalnum, text)) for text in train.texts):
        words = CountVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b")
        counts = words.fit_transform(train.texts), words.transform(test.texts)
    else:
        width = max(train.vocabulary, *(int(e.tensors["input_ids"].max()) + 1 for e in (train, test)))
        counts = _token_counts(train, width), _token_counts(test, width)
    weights = TfidfTransformer(sublinear_tf=True).fit(counts[0])
    return weights.transform(counts[0]), weights.transform(counts[1])


def _token_counts(examples: Examples, width: int) -> Any:
    from scipy.sparse import csr_array

    ids = examples.tensors["input_ids"].cpu()
    mask = examples.tensors.get("attention_mask")
    rows, columns = (torch.ones_like(ids) if mask is None else mask.cpu()).nonzero(as_tuple=True)
    at = (rows.numpy(), ids[rows, columns].numpy())
    return csr_array((np.ones(len(rows)), at), shape=(len(ids), width))


def _label_spreading(train: Examples, known: int, seed: int) -> Any:
    from sklearn.semi_supervised import LabelSpreading

    return LabelSpreading(kernel="knn", n_neighbors=min(_NEIGHBOURS, train.size))


def _logistic_regression(train: Examples, known: int, seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=1000)


def _ridge(train: Examples, known: int, seed: int) -> Any:
    from sklearn.linear_model import RidgeCV

    return RidgeCV(alphas=np.logspace(-3, 3, 13))


def _boosted_trees(train: Examples, known: int, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    # The default of 20 examples per leaf allows no split below 40 examples.
    options: Document = {"random_state": seed, "min_samples_leaf": max(1, min(20, known // 4))}
    if train.task == "regression":
        return HistGradientBoostingRegressor(**options)
    return HistGradientBoostingClassifier(**options)


_ESTIMATORS: dict[str, Callable[[Examples, int, int], Any]] = {
    "label_spreading": _label_spreading,
    "logistic_regression": _logistic_regression,
    "ridge": _ridge,
    "boosted_trees": _boosted_trees,
}
