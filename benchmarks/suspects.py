"""Ranking suspicious labels next to cleanlab's `find_label_issues`, on the same labels and probabilities.

It runs in an environment of its own (see label-peers.txt). cleanlab is asked for the same marks ("confident_learning"),
ranked by the same figure, in one process; its default filter marks others, and is timed beside it.
"""

import importlib
import sys
from argparse import Namespace
from collections.abc import Mapping
from functools import cache, partial

import numpy as np
import torch

import harness

SIZE, CLASSES, WRONG = 200_000, 20, 0.2
Given = tuple[np.ndarray, np.ndarray]
"""Labels int64 [N], and probabilities float32 [N, C]."""


@cache
def given(size: int = SIZE, classes: int = CLASSES) -> Given:
    """Labels of which a fifth were redrawn, and the probabilities of a model that is right on most rows."""
    draw = np.random.default_rng(0)
    true = draw.integers(classes, size=size)
    logits = 1.5 * draw.normal(size=(size, classes))
    logits[np.arange(size), true] += 4.0
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = np.where(draw.random(size) < WRONG, draw.integers(classes, size=size), true)
    return labels, probs.astype(np.float32)


def by_cleanlab(work: Given, filter_by: str) -> np.ndarray:
    """The suspects by cleanlab, ranked by self-confidence."""
    find = importlib.import_module("cleanlab.filter").find_label_issues
    return find(*work, filter_by=filter_by, return_indices_ranked_by="self_confidence", n_jobs=1)


def by_didact(work: Given) -> np.ndarray:
    """The suspects, from a ranking of all labels."""
    from didact.evaluation.suspects import find_suspects

    found = find_suspects(*map(torch.from_numpy, work))
    return found.order[found.suspect[found.order]].numpy()


def check(results: Mapping[str, np.ndarray]) -> None:
    """The same suspects, in the same order of self-confidence: rows with equal figures may change places."""
    ours, theirs = results["didact"], results["cleanlab"]
    labels, probs = given()
    assert np.array_equal(np.sort(ours), np.sort(theirs))
    assert np.array_equal(probs[ours, labels[ours]], probs[theirs, labels[theirs]])


def cases(options: Namespace) -> list[harness.Case]:
    """One size."""
    sides = {
        "cleanlab": partial(by_cleanlab, filter_by="confident_learning"),
        "cleanlab, default filter": partial(by_cleanlab, filter_by="prune_by_noise_rate"),
        "didact": by_didact,
    }
    return [
        harness.Case(
            name=f"suspects among {SIZE:,} labels of {CLASSES} classes",
            sides={name: harness.Side(prepare=given, run=run) for name, run in sides.items()},
            bound="cleanlab",
            check=check,
            units=SIZE,
            targets={"didact": 1.0},
        )
    ]


if __name__ == "__main__":
    sys.exit(harness.main("suspects", harness.arguments(__doc__ or ""), cases))
