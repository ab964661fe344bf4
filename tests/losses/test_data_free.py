"""The losses of distillation without data against slow transcriptions."""

import math

import numpy as np
import pytest
import torch

from didact.errors import ConfigError
from didact.losses.classes.entropy import class_imbalance
from didact.losses.classes.logits import logit_l1
from didact.losses.labels.data_free import generator_loss


@pytest.mark.parametrize("weighed", [False, True])
def test_the_distance_is_the_mean_absolute_difference(weighed):
    chance = np.random.default_rng(0)
    mine, theirs, trust = chance.normal(size=(5, 3)), chance.normal(size=(5, 3)), chance.uniform(size=5)
    weights = trust if weighed else np.ones(5)
    term = logit_l1(torch.tensor(mine), torch.tensor(theirs), trust=torch.tensor(trust) if weighed else None)
    slow = sum(
        w * sum(abs(a - b) for a, b in zip(m, t, strict=True)) / 3
        for m, t, w in zip(mine, theirs, weights, strict=True)
    )
    assert float(term.sum) == pytest.approx(slow, rel=1e-5)
    assert float(term.count) == pytest.approx(weights.sum(), rel=1e-5)


def test_the_distance_pulls_the_student_towards_the_teacher():
    mine, theirs = torch.tensor([[2.0, -1.0]], requires_grad=True), torch.tensor([[1.0, 1.0]], requires_grad=True)
    logit_l1(mine, theirs).sum.backward()
    assert mine.grad is not None and theirs.grad is not None
    assert mine.grad.tolist() == [[0.5, -0.5]]
    assert theirs.grad.tolist() == [[-0.5, 0.5]]


def test_other_classes_are_refused():
    with pytest.raises(ConfigError, match=r"\[2, 3\] and the teacher's \[2, 4\]"):
        logit_l1(torch.ones(2, 3), torch.ones(2, 4))


def test_the_imbalance_is_the_divergence_from_uniform():
    logits = np.random.default_rng(1).normal(size=(6, 4)) * 3
    probs = [[math.exp(v) / sum(math.exp(u) for u in row) for v in row] for row in logits]
    mean = [sum(row[c] for row in probs) / 6 for c in range(4)]
    slow = sum(m * (math.log(m) - math.log(1 / 4)) for m in mean)
    assert float(class_imbalance(torch.tensor(logits)).mean()) == pytest.approx(slow, rel=1e-5)


def test_the_imbalance_is_least_where_each_class_comes_as_often():
    sure = 200.0 * torch.eye(3)
    assert float(class_imbalance(sure).mean()) == pytest.approx(0.0, abs=1e-6)
    one = sure[[0, 0, 0]].requires_grad_()
    found = class_imbalance(one)
    found.sum.backward()
    assert found.mean().item() == pytest.approx(math.log(3), rel=1e-6)
    assert one.grad is not None and torch.isfinite(one.grad).all()


def test_a_generator_is_paid_for_disagreement_sure_answers_and_all_classes():
    chance = np.random.default_rng(2)
    mine, theirs = (chance.normal(size=(4, 3)) * 2 for _ in range(2))

    def softmax(rows):
        return np.exp(rows) / np.exp(rows).sum(1, keepdims=True)

    p, q = softmax(theirs), softmax(mine)
    middle, mean = (p + q) / 2, p.mean(0)
    apart = 0.5 * (p * np.log(p / middle)).sum(1) + 0.5 * (q * np.log(q / middle)).sum(1)
    slow = -0.7 * apart.mean() - 0.3 * np.log(p.max(1)).mean() + 2.0 * (mean * np.log(3 * mean)).sum()
    found = generator_loss(torch.tensor(mine), torch.tensor(theirs), disagreement=0.7, sureness=0.3, balance=2.0)
    assert found.item() == pytest.approx(slow, rel=1e-5)
