"""Every metric against numbers by hand, a slow transcription or scikit-learn."""

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from didact.errors import ConfigError
from didact.evaluation import (
    Predictions,
    agreement,
    confusion,
    diagnostics,
    is_unbalanced,
    merge_diagnostics,
    metrics,
    recalls,
    reliability,
)
from didact.types import IGNORE, Features, Labels, Logits, Reward


def classified(logits, labels, classes=()):
    return Predictions(
        logits=torch.as_tensor(logits), labels=torch.as_tensor(labels), task="classification", classes=classes
    )


def softmax(logits):
    e = np.exp(logits - logits.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def slow_ece(probs, labels, bins=15):
    """Guo et al. (2017), equation 3, one bin after another; the bins are open on the left and closed on the right."""
    confidence, answer = probs.max(1), probs.argmax(1)
    total = 0.0
    for m in range(1, bins + 1):
        inside = [i for i, c in enumerate(confidence) if (m - 1) / bins < c <= m / bins]
        if inside:
            accuracy = np.mean([answer[i] == labels[i] for i in inside])
            total += len(inside) / len(labels) * abs(accuracy - np.mean(confidence[inside]))
    return total


def test_a_classification_by_hand():
    probs = torch.tensor([[0.8, 0.2], [0.6, 0.4], [0.3, 0.7]], dtype=torch.float64)
    found = metrics(classified(probs.log(), [0, 1, 1]))
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["nll"] == pytest.approx(-(math.log(0.8) + math.log(0.4) + math.log(0.7)) / 3)
    assert found["ece"] == pytest.approx((abs(1 - 0.8) + abs(0 - 0.6) + abs(1 - 0.7)) / 3)
    assert found["macro_f1"] == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert found["auroc"] == pytest.approx(1.0)


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(2, 60), classes=st.integers(2, 6), seed=st.integers(0, 999), coarse=st.booleans())
def test_a_classification_agrees_with_other_implementations(rows, classes, seed, coarse):
    generator = np.random.default_rng(seed)
    logits = 3 * generator.standard_normal((rows, classes))
    logits = np.round(logits) if coarse else logits
    labels = generator.integers(0, classes, rows)
    found = metrics(classified(logits, labels))
    probs, everyone = softmax(logits), np.arange(classes)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(labels, logits.argmax(1)))
    assert found["nll"] == pytest.approx(sk.log_loss(labels, probs, labels=everyone), rel=1e-9)
    assert found["ece"] == pytest.approx(slow_ece(probs, labels), abs=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(labels, logits.argmax(1)))
    assert found["macro_f1"] == pytest.approx(sk.f1_score(labels, logits.argmax(1), average="macro", zero_division=0))
    assert ("auroc" in found) == (len(set(labels)) == classes)


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(6, 60), classes=st.integers(2, 5), seed=st.integers(0, 999), coarse=st.booleans())
def test_the_area_under_the_curve_agrees_with_scikit_learn(rows, classes, seed, coarse):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, rows)
    assume(len(set(labels)) == classes)
    logits = generator.standard_normal((rows, classes))
    logits[:, 1:] = np.round(logits[:, 1:]) if coarse else logits[:, 1:]
    areas = [sk.roc_auc_score(labels == c, np.log(softmax(logits))[:, c].round(12)) for c in range(classes)]
    expected = areas[1] if classes == 2 else np.mean(areas)
    assert metrics(classified(logits.round(12), labels))["auroc"] == pytest.approx(
        expected, abs=0.02 if coarse else 1e-9
    )


def test_ties_count_half_in_the_area():
    logits = torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, 0.0], [0.0, 2.0]])
    assert metrics(classified(logits, [0, 1, 0, 1]))["auroc"] == pytest.approx((0.5 + 1 + 1 + 1) / 4)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below():
    logits = torch.log(torch.tensor([[0.6, 0.4]], dtype=torch.float64))
    (row,) = reliability(classified(logits, [0]), bins=5)
    assert (row["low"], row["high"]) == pytest.approx((0.4, 0.6))


def test_reliability_counts_every_answer_once():
    logits = torch.randn(200, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(0, 5, (200,), generator=torch.Generator().manual_seed(1))
    rows = reliability(classified(logits, labels))
    assert sum(row["count"] for row in rows) == 200
    right = sum(row["count"] * row["accuracy"] for row in rows) / 200
    assert right == pytest.approx(metrics(classified(logits, labels))["accuracy"])
    assert all(row["low"] < row["confidence"] <= row["high"] for row in rows)


def test_the_confusion_has_labels_in_rows():
    logits = torch.eye(3)[[1, 1, 2, 0]]
    assert confusion(classified(logits, [0, 1, 1, 0])).tolist() == [[1, 1, 0], [0, 1, 1], [0, 0, 0]]


def test_a_regression_by_hand_and_against_scikit_learn():
    labels, answers = np.array([1.0, 2.0, 4.0]), np.array([1.5, 2.0, 3.0])
    found = metrics(Predictions(logits=torch.tensor(answers)[:, None], labels=torch.tensor(labels), task="regression"))
    assert found == pytest.approx({"r2": 1 - 1.25 / (14 / 3), "rmse": math.sqrt(1.25 / 3), "mae": 0.5})
    assert found["r2"] == pytest.approx(sk.r2_score(labels, answers))


def test_r2_of_equal_labels_is_absent():
    found = metrics(Predictions(logits=torch.ones(3, 1), labels=torch.full((3,), 2.0), task="regression"))
    assert found == {"rmse": 1.0, "mae": 1.0}


def test_agreement_is_the_divergence_of_the_student_from_the_teacher():
    student = torch.log(torch.tensor([[0.5, 0.5], [0.9, 0.1]], dtype=torch.float64))
    teacher = torch.log(torch.tensor([[0.75, 0.25], [0.2, 0.8]], dtype=torch.float64)) + 7.0
    rows = [0.75 * math.log(1.5) + 0.25 * math.log(0.5), 0.2 * math.log(0.2 / 0.9) + 0.8 * math.log(0.8 / 0.1)]
    expected = {"teacher_agreement": 0.5, "teacher_kl": sum(rows) / 2}
    mine = classified(student, [IGNORE, IGNORE])
    assert agreement(mine, Logits(logits=teacher)) == pytest.approx(expected)
    assert agreement(mine, Labels(labels=teacher.softmax(1))) == pytest.approx(expected)
    assert agreement(mine, Features(features={}, logits=teacher)) == pytest.approx(expected)
    assert agreement(mine, classified(teacher, [0, 0])) == pytest.approx(expected)


def test_abstaining_teachers_are_left_out():
    student = classified(torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]), [0, 0, 0])
    hard = Labels(labels=torch.tensor([0, 1, IGNORE]))
    assert agreement(student, hard) == {"teacher_agreement": 0.5}
    trusted = Logits(logits=torch.tensor([[1.0, 0], [0, 1], [0, 1]]), trust=torch.tensor([1.0, 0.0, 0.0]))
    assert agreement(student, trusted)["teacher_agreement"] == 1.0
    assert agreement(student, trusted)["teacher_kl"] == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(ConfigError, match="abstains"):
        agreement(student, Logits(logits=torch.zeros(3, 2), trust=torch.zeros(3)))


def test_a_certain_teacher_has_a_finite_divergence():
    student = classified(torch.zeros(1, 2), [0])
    found = agreement(student, Labels(labels=torch.tensor([[1.0, 0.0]])))
    assert found["teacher_kl"] == pytest.approx(math.log(2))


def test_a_regression_agrees_by_its_distance():
    student = Predictions(logits=torch.tensor([[1.0], [2.0]]), labels=torch.zeros(2), task="regression")
    assert agreement(student, Labels(labels=torch.tensor([4.0, 6.0])))["teacher_rmse"] == pytest.approx(math.sqrt(12.5))
    assert agreement(student, Logits(logits=torch.tensor([[1.0], [4.0]])))["teacher_rmse"] == pytest.approx(
        math.sqrt(2)
    )


def test_answers_that_do_not_fit_are_refused():
    student = classified(torch.zeros(2, 2), [0, 0])
    with pytest.raises(ConfigError, match="3 examples"):
        agreement(student, Logits(logits=torch.zeros(3, 2)))
    with pytest.raises(ConfigError, match="5 classes"):
        agreement(student, Logits(logits=torch.zeros(2, 5)))
    with pytest.raises(ConfigError, match="Reward"):
        agreement(student, Reward(value=torch.zeros(2)))


def test_pooled_diagnostics_are_those_of_the_joined_predictions():
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(120, 3, generator=generator), torch.randint(0, 3, (120,), generator=generator)
    whole = diagnostics(classified(logits, labels, ("a", "b", "c")))
    parts = [diagnostics(classified(logits[i::3], labels[i::3], ("a", "b", "c"))) for i in range(3)]
    pooled = merge_diagnostics(parts)
    assert pooled["confusion"] == whole["confusion"] and pooled["classes"] == ["a", "b", "c"]
    for mine, theirs in zip(pooled["reliability"], whole["reliability"], strict=True):
        assert mine == pytest.approx(theirs)


def test_diagnostics_of_a_regression_are_thinned_and_ordered():
    labels = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    found = diagnostics(Predictions(logits=2 * labels[:, None], labels=labels, task="regression"), points=50)
    assert len(found["actual"]) == 50 and found["actual"] == sorted(found["actual"])
    assert found["actual"][0] == pytest.approx(labels.min()) and found["actual"][-1] == pytest.approx(labels.max())
    assert found["predicted"] == pytest.approx([2 * value for value in found["actual"]])
    assert len(merge_diagnostics([found, found])["actual"]) == 100


def test_recalls_are_those_of_scikit_learn_and_nan_without_a_label():
    labels = np.array([0, 0, 0, 1, 1, 3])
    logits = np.eye(4)[[0, 0, 1, 1, 2, 0]]
    found = recalls(classified(logits, labels))
    assert found[[0, 1, 3]].tolist() == pytest.approx(
        sk.recall_score(labels, logits.argmax(1), average=None, labels=[0, 1, 3])
    )
    assert found[2].isnan()


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([80, 17, 3], True),
        ([67, 33], True),
        ([66, 34], False),
        ([50, 50], False),
        ([25, 25, 25, 25, 0], False),
        ([50, 40, 9], True),
        ([50, 40, 10], False),
        ([7], False),
    ],
)
def test_classes_are_unbalanced_above_two_thirds_or_below_a_fifth(counts, expected):
    label = torch.cat([torch.full((count,), number) for number, count in enumerate(counts)])
    assert is_unbalanced(torch.cat([label, torch.full((500,), IGNORE)])) is expected
