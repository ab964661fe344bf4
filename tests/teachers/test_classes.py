"""Aligning classes, and noticing outputs in another order."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from didact.errors import TeacherError
from didact.teachers import align, check_classes, suspicious_order
from didact.types import IGNORE


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(max_size=4), min_size=1, max_size=8, unique=True), st.randoms())
def test_align_is_found_by_search(names, random):
    data = list(names)
    random.shuffle(data)
    order = align(names, data)
    assert order.dtype == torch.int64
    assert [names[i] for i in order.tolist()] == data


@pytest.mark.parametrize(
    ("own", "data"),
    [
        ([0, 1, 2], ["2", "0", "1"]),
        ([0.0, 1.0, 2.0], ["2", "0", "1"]),
        (["0", "1", "2"], ["2.0", "0.0", "1.0"]),
        ([np.int64(0), np.int64(1), np.int64(2)], [2, 0, 1]),
    ],
)
def test_numbers_are_the_same_however_they_are_written(own, data):
    assert align(own, data).tolist() == [2, 0, 1]


def test_names_that_only_look_alike_are_told_apart():
    assert align(["1", "1.0"], ["1.0", "1"]).tolist() == [1, 0]
    assert align(["nan", "inf"], ["inf", "nan"]).tolist() == [1, 0]
    with pytest.raises(TeacherError):
        align(["1_0"], ["10"])
    with pytest.raises(TeacherError):
        align([12345678901234567890], ["12345678901234567891"])


def test_other_classes_are_refused_with_both_lists():
    with pytest.raises(TeacherError) as caught:
        check_classes(["cat", "dog", "owl"], ["dog", "cat", "pig"])
    message = str(caught.value)
    assert re.search(r"teacher's classes are 'cat', 'dog', 'owl', the data's are 'dog', 'cat', 'pig'", message)
    assert "only the teacher has 'owl'; only the data have 'pig'" in message


def test_long_lists_are_cut_and_repeats_refused():
    with pytest.raises(TeacherError, match=r"and 88 more \(100 in all\)"):
        align(range(100), range(1, 101))
    with pytest.raises(TeacherError, match="twice"):
        align(["a", "a", "b"], ["a", "a", "b"])
    with pytest.raises(TeacherError, match="twice"):
        align(["a", "a", "b"], ["a", "b", "b"])


def teacher_of(labels, order, accuracy, classes, rng):
    """Probabilities whose output j stands for the class order[j], right with a given accuracy."""
    inverse = np.argsort(order)
    right = rng.random(len(labels)) < accuracy
    said = np.where(right, labels, rng.integers(classes, size=len(labels)))
    scores = rng.random((len(labels), classes)) * 0.1
    scores[np.arange(len(labels)), inverse[said]] += 1.0
    return torch.from_numpy(scores / scores.sum(1, keepdims=True))


def test_another_order_of_outputs_is_noticed_and_named():
    rng = np.random.default_rng(0)
    labels = rng.integers(4, size=200)
    names = ["ant", "bee", "cat", "dog"]
    order = np.array([2, 0, 1, 3])
    sentence = suspicious_order(teacher_of(labels, order, 0.9, 4, rng), torch.from_numpy(labels), names)
    assert sentence is not None
    assert "'cat', 'ant', 'bee', 'dog'" in sentence
    as_given, better = (float(p) for p in re.findall(r"([\d.]+)%", sentence))
    said = 0.925  # 0.9 right on purpose, and a quarter of the rest by chance
    assert better == pytest.approx(100 * said, abs=6)
    assert as_given == pytest.approx(100 * (said / 4 + (1 - said) / 3 * 0.75), abs=8)


@pytest.mark.parametrize("accuracy", [0.0, 0.3, 0.6, 0.95])
def test_the_right_order_is_not_suspected(accuracy):
    rng = np.random.default_rng(1)
    labels = rng.integers(10, size=400)
    probabilities = teacher_of(labels, np.arange(10), accuracy, 10, rng)
    assert suspicious_order(probabilities, torch.from_numpy(labels), [str(i) for i in range(10)]) is None


@pytest.mark.parametrize(("classes", "reported"), [(10, True), (40, False)])
def test_two_swapped_outputs_are_reported_where_they_matter(classes, reported):
    rng = np.random.default_rng(2)
    labels = rng.integers(classes, size=2000)
    order = np.arange(classes)
    order[[3, 7]] = [7, 3]
    names = [f"c{i}" for i in range(classes)]
    sentence = suspicious_order(teacher_of(labels, order, 0.95, classes, rng), torch.from_numpy(labels), names)
    assert (sentence is not None) == reported
    if sentence:
        assert "'c2', 'c7', 'c4', 'c5', 'c6', 'c3', 'c8'" in sentence


def test_chance_is_not_taken_for_another_order():
    found = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        labels = torch.from_numpy(rng.integers(10, size=30))
        random = torch.from_numpy(rng.random((30, 10)))
        found += suspicious_order(random, labels, [str(i) for i in range(10)]) is not None
    assert found == 0


def test_few_or_missing_labels_tell_nothing():
    swapped = torch.eye(2).flip(0)[torch.tensor([0, 1] * 10)]
    labels = torch.tensor([0, 1] * 10)
    assert "'b', 'a'" in str(suspicious_order(swapped, labels, ["a", "b"]))
    assert suspicious_order(swapped[:2], labels[:2], ["a", "b"]) is None
    assert suspicious_order(swapped, torch.full((20,), IGNORE), ["a", "b"]) is None
    with pytest.raises(TeacherError, match=r"predicts 2 classes, but the data have 3: 'a', 'b', 'c'"):
        suspicious_order(swapped, labels, ["a", "b", "c"])


def test_an_untrained_teacher_has_no_order_to_be_mistaken():
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(300) % 3
    x = 2 * torch.eye(3)[labels] + torch.randn(300, 3, generator=generator)
    # Its largest output follows the classes in another order, but seldom: a linear map that hardly looks at them.
    scores = x.roll(1, dims=1) * 0.3 + torch.randn(300, 3, generator=generator)
    answers = scores.argmax(-1)
    assert (answers == labels).float().mean() < 0.3
    assert (answers == (labels + 1) % 3).float().mean() > 0.4
    assert suspicious_order(scores, labels, ["a", "b", "c"]) is None
