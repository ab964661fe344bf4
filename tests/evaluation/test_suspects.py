"""Suspicious labels: the marks and the ranking, against a slow transcription."""

import numpy as np
import pytest
import torch

from didact.errors import DataError
from didact.evaluation.suspects import find_suspects


def by_hand(labels, probs):
    """Confident joint and "confident_learning" filter of count.py and filter.py of cleanlab/cleanlab, row by row."""
    classes = probs.shape[1]
    thresholds = [probs[labels == k, k].mean() if (labels == k).any() else np.inf for k in range(classes)]
    marked = []
    for row, label in zip(probs, labels, strict=True):
        bins = [k for k in range(classes) if row[k] >= thresholds[k] - 1e-6]
        counted = None if not bins else bins[0] if len(bins) == 1 else int(row.argmax())
        marked.append(counted is not None and counted != label and row.argmax() != label)
    return np.array(marked)


def drawn(size, classes, seed):
    random = np.random.default_rng(seed)
    true = random.integers(classes, size=size)
    logits = random.normal(size=(size, classes)) * 1.5
    logits[np.arange(size), true] += 3
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = np.where(random.random(size) < 0.3, random.integers(classes, size=size), true)
    return labels, probs.astype(np.float32)


@pytest.mark.parametrize(("size", "classes", "seed"), [(400, 2, 0), (400, 7, 1), (800, 20, 2)])
def test_marks_and_ranks_are_those_of_cleanlab_row_by_row(size, classes, seed):
    labels, probs = drawn(size, classes, seed)
    labels[labels == 6] = 0  # of seven classes or more, one without labels
    found = find_suspects(torch.from_numpy(labels), torch.from_numpy(probs))
    marked = by_hand(labels, probs)
    assert size // 20 < marked.sum() < size // 2
    np.testing.assert_array_equal(found.suspect.numpy(), marked)
    own = probs[np.arange(size), labels]
    rest = probs.copy()
    rest[np.arange(size), labels] = -1
    np.testing.assert_allclose(found.self_confidence.numpy(), own)
    np.testing.assert_allclose(found.margin.numpy(), (own - rest.max(1) + 1) / 2, rtol=1e-6)
    np.testing.assert_array_equal(found.order.numpy(), np.argsort(own, kind="stable"))
    np.testing.assert_array_equal(found.suggested.numpy(), probs.argmax(1))


def test_it_is_what_cleanlab_says():
    cleanlab = pytest.importorskip("cleanlab.filter")
    labels, probs = drawn(500, 5, 3)
    found = find_suspects(torch.from_numpy(labels), torch.from_numpy(probs))
    theirs = cleanlab.find_label_issues(
        labels, probs, filter_by="confident_learning", return_indices_ranked_by="self_confidence", n_jobs=1
    )
    np.testing.assert_array_equal(found.order[found.suspect[found.order]].numpy(), theirs)


@pytest.mark.parametrize(
    ("labels", "probs", "words"),
    [
        ([0, 1], [[0.5, 0.5]], "There are 2 labels and probabilities of shape"),
        ([], np.zeros((0, 2)), "There are 0 labels"),
        ([0], [[1.0]], r"shape \[1, 1\]"),
        ([2], [[0.5, 0.5]], "go from 2 to 2, but must lie in 0 to 1"),
        ([-100], [[0.5, 0.5]], "go from -100"),
        ([0], [[np.nan, 0.5]], "not all finite"),
    ],
)
def test_what_is_no_label_or_probability_is_refused(labels, probs, words):
    with pytest.raises(DataError, match=words):
        find_suspects(torch.tensor(labels, dtype=torch.int64), torch.tensor(np.array(probs, dtype=np.float32)))
