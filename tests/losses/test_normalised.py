"""What NKD and USKD make of the target and the other classes, against slow transcriptions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from didact.losses.classes.normalised import non_target_probs, smoothed_target, weighted_nll, zipf_log_probs
from didact.types import IGNORE


def rows(seed, examples, classes, scale=2.0):
    return np.random.default_rng(seed).normal(size=(examples, classes)) * scale


def softmax(row):
    exponentials = [math.exp(v) for v in row]
    return [e / sum(exponentials) for e in exponentials]


def labels_of(seed, examples, classes, missing=0.3):
    rng = np.random.default_rng(seed + 77)
    return np.where(rng.random(examples) < missing, IGNORE, rng.integers(0, classes, examples))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 9999), st.integers(1, 6), st.integers(2, 6))
def test_the_weight_is_no_part_of_the_count(seed, examples, classes):
    logits, labels = rows(seed, examples, classes), labels_of(seed, examples, classes)
    weight, trust = np.random.default_rng(seed + 1).random((2, examples)) * 2
    term = weighted_nll(torch.tensor(logits), torch.tensor(labels), torch.tensor(weight), trust=torch.tensor(trust / 2))
    there = [i for i in range(examples) if labels[i] != IGNORE]
    slow = sum(trust[i] / 2 * weight[i] * -math.log(softmax(logits[i])[labels[i]]) for i in there)
    assert term.sum.item() == pytest.approx(slow, rel=1e-4, abs=1e-6)
    assert float(term.count) == pytest.approx(sum(trust[i] / 2 for i in there))


def test_the_gradient_of_the_weighted_likelihood():
    logits, labels = torch.tensor(rows(1, 3, 4)).float().requires_grad_(), torch.tensor([2, IGNORE, 0])
    weight = torch.tensor([0.5, 1.0, 2.0], requires_grad=True)
    weighted_nll(logits, labels, weight).sum.backward()
    probs = np.array([softmax(row) for row in logits.detach().tolist()])
    expected = probs - np.eye(4)[[2, 0, 0]]
    expected *= np.array([[0.5], [0.0], [2.0]])
    assert logits.grad is not None
    assert logits.grad.numpy() == pytest.approx(expected, abs=1e-5)
    assert weight.grad is None


def test_a_students_own_label_is_around_one():
    logits, labels = rows(2, 5, 4), [0, 3, IGNORE, 1, 2]
    found = smoothed_target(torch.tensor(logits), torch.tensor(labels))
    there = [i for i in range(5) if labels[i] != IGNORE]
    squared = {i: softmax(logits[i])[labels[i]] ** 2 for i in there}
    mean = sum(squared.values()) / 4
    for i in there:
        assert found[i].item() == pytest.approx(squared[i] + 1 - mean, rel=1e-5)
    assert np.mean([found[i].item() for i in there]) == pytest.approx(1.0, rel=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 9999), st.integers(1, 4), st.integers(3, 7))
def test_zipf_follows_the_order_of_the_others(seed, examples, classes):
    scores = rows(seed, examples, classes)
    target = np.random.default_rng(seed).integers(0, classes, examples)
    found = zipf_log_probs(torch.tensor(scores), torch.tensor(target)).numpy()
    for score, label, row in zip(scores, target, found, strict=True):
        others = sorted(set(range(classes)) - {label}, key=lambda c: -score[c])
        total = sum(1 / rank for rank in range(1, classes))
        probs = np.exp(row[others]) / np.exp(row[others]).sum()
        assert probs == pytest.approx([1 / rank / total for rank in range(1, classes)], rel=1e-4)


def test_the_others_are_normalised_among_themselves():
    logits, target = rows(3, 4, 5), [4, 0, 2, IGNORE]
    found = non_target_probs(torch.tensor(logits), torch.tensor(target)).numpy()
    for row, label, share in zip(logits, [4, 0, 2, 0], found, strict=True):
        probs = softmax(row)
        expected = [0.0 if c == label else p / (1 - probs[label]) for c, p in enumerate(probs)]
        assert share == pytest.approx(expected, rel=1e-4)
