"""Probes of representations: the accuracy of simple classifiers."""

import warnings

import torch
from torch import Tensor
from torch.nn import functional as F

from didact.errors import DataError, MissingExtraError, check_range
from didact.types import is_labelled

_QUERIES_AT_ONCE = 1024


def linear_probe(
    train_features: Tensor, train_labels: Tensor, test_features: Tensor, test_labels: Tensor, *, penalty: float = 1.0
) -> float:
    """The test accuracy of a logistic regression on standardised features.

    Args:
        train_features: float [N, ...].
        train_labels: int64 [N]; examples without a label are left out, here and below.
        test_features: float [M, ...].
        test_labels: int64 [M].
        penalty: scikit-learn's inverse strength `C` of the squared penalty, above 0.

    Returns:
        Accuracy in [0, 1].

    Raises:
        DataError: there are fewer than two classes, no labelled test example, or features that are not finite.
        MissingExtraError: scikit-learn is not installed.
    """
    check_range("linear_probe(penalty=...)", penalty, above=0)
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError:
        raise MissingExtraError("scikit-learn", "data", "A linear probe") from None
    (train_x, train_y), (test_x, test_y) = _labelled(train_features, train_labels, test_features, test_labels)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=penalty, max_iter=1000))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(train_x.numpy(), train_y.numpy())
    return float(model.score(test_x.numpy(), test_y.numpy()))


def knn_probe(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    test_labels: Tensor,
    *,
    neighbours: int = 20,
    temperature: float = 0.07,
) -> float:
    """The test accuracy of a weighted vote of the nearest training examples by cosine similarity.

    A neighbour's vote weighs exp(similarity / temperature) (Wu et al., "Unsupervised feature learning via
    non-parametric instance discrimination", CVPR 2018, section 3.4).

    Args:
        train_features: float [N, ...].
        train_labels: int64 [N]; examples without a label are left out, here and below.
        test_features: float [M, ...].
        test_labels: int64 [M].
        neighbours: the number of votes, at least 1; all of them if there are fewer.
        temperature: above 0; the lower, the larger the weight of the nearest.

    Returns:
        Accuracy in [0, 1].

    Raises:
        DataError: fewer than two classes to learn, no labelled example to test, or features that are not finite.
    """
    check_range("knn_probe(neighbours=...)", neighbours, at_least=1)
    check_range("knn_probe(temperature=...)", temperature, above=0)
    (train_x, train_y), (test_x, test_y) = _labelled(train_features, train_labels, test_features, test_labels)
    train_x, test_x = F.normalize(train_x, dim=1), F.normalize(test_x, dim=1)
    classes = int(train_y.max()) + 1
    hits = 0
    for queries, labels in zip(test_x.split(_QUERIES_AT_ONCE), test_y.split(_QUERIES_AT_ONCE), strict=True):
        similarity, index = (queries @ train_x.T).topk(min(neighbours, len(train_x)), dim=1)
        # The largest similarity is 1; subtracting it avoids overflow of the exponential.
        votes = torch.zeros(len(queries), classes, dtype=similarity.dtype)
        votes.scatter_add_(1, train_y[index], ((similarity - 1) / temperature).exp())
        hits += int((votes.argmax(1) == labels).sum())
    return hits / len(test_y)


def _labelled(
    train_features: Tensor, train_labels: Tensor, test_features: Tensor, test_labels: Tensor
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Float64 features [N, D] and labels of the labelled examples, once for training and once for test."""
    pairs = []
    for name, features, labels in (("train", train_features, train_labels), ("test", test_features, test_labels)):
        if features.shape[0] != labels.shape[0]:
            raise DataError(f"{name}_features has {features.shape[0]} rows but {name}_labels {labels.shape[0]}.")
        known = is_labelled(labels)
        rows = features[known].detach().flatten(1).cpu().double()
        if not rows.isfinite().all():
            raise DataError(f"{name}_features holds values that are NaN or infinite; probe a representation without.")
        pairs.append((rows, labels[known].cpu()))
    if pairs[0][1].unique().numel() < 2:
        raise DataError("The labelled training examples are all of one class or none; a probe needs two classes.")
    if not pairs[1][1].numel():
        raise DataError("None of the test examples has a label, so that a probe cannot be scored.")
    return pairs[0], pairs[1]
