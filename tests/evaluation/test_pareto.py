"""The Pareto set against brute force, and intervals over rows against resamples made one row at a time."""

import numpy as np
import pytest
import torch

from didact.errors import ConfigError
from didact.evaluation import Predictions, metrics
from didact.evaluation.paired import metric_interval
from didact.evaluation.pareto import pareto_set


@pytest.mark.parametrize("seed", range(20))
def test_the_set_is_that_of_brute_force(seed):
    rng = np.random.default_rng(seed)
    points = rng.integers(0, 6, (rng.integers(1, 40), 3)).tolist()

    def beaten(one):
        return any(all(a <= b for a, b in zip(other, one, strict=True)) and other != one for other in points)

    assert pareto_set(points) == [number for number, one in enumerate(points) if not beaten(one)]


def test_of_nothing_there_is_no_set():
    assert pareto_set([]) == []


RNG = np.random.default_rng(0)
LABEL = torch.from_numpy(RNG.integers(0, 3, 200))
NUMBERS = torch.from_numpy(RNG.normal(5, 2, 200))


def answers(noise, seed, task="classification"):
    rng = np.random.default_rng(seed)
    if task == "regression":
        return Predictions(
            logits=(NUMBERS + torch.from_numpy(rng.normal(0, noise, 200)))[:, None], labels=NUMBERS, task=task
        )
    scores = torch.eye(3)[LABEL] + torch.from_numpy(rng.normal(0, noise, (200, 3))).float()
    return Predictions(logits=scores, labels=LABEL, task=task, classes=("a", "b", "c"))


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "r2"])
def test_the_interval_is_that_of_resampled_rows(metric):
    task = "regression" if metric == "r2" else "classification"
    mine, theirs = answers(0.6, 1, task), answers(0.4, 2, task)
    found, alone = metric_interval(metric, mine, theirs), metric_interval(metric, mine)
    assert alone.value == pytest.approx(metrics(mine)[metric], abs=1e-12)
    assert found.value == pytest.approx(metrics(mine)[metric] - metrics(theirs)[metric], abs=1e-12)
    rng, drawn, single = np.random.default_rng(3), [], []
    for _ in range(300):
        at = torch.from_numpy(rng.integers(0, 200, 200))
        one, two = (
            metrics(Predictions(logits=p.logits[at], labels=p.labels[at], task=task, classes=p.classes))[metric]
            for p in (mine, theirs)
        )
        drawn.append(one - two)
        single.append(one)
    for interval, wanted in ((found, drawn), (alone, single)):
        low, high = np.quantile(wanted, [0.025, 0.975])
        room = 0.2 * (high - low)
        assert interval.low == pytest.approx(low, abs=room)
        assert interval.high == pytest.approx(high, abs=room)


def test_a_learner_is_no_better_than_itself():
    found = metric_interval("accuracy", answers(0.6, 1), answers(0.6, 1))
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


def test_rows_without_a_label_do_not_count():
    known = answers(0.6, 1)
    label = torch.cat([LABEL, torch.full((50,), -100)])
    more = Predictions(logits=torch.cat([known.logits, torch.zeros(50, 3)]), labels=label, task="classification")
    assert metric_interval("accuracy", more) == metric_interval("accuracy", known)


def test_another_metric_is_refused():
    with pytest.raises(ConfigError, match="metric is 'nll'"):
        metric_interval("nll", answers(0.6, 1))
