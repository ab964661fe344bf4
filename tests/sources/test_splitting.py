import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from didact import sources, worlds
from didact.errors import ConfigError, DataError
from didact.sources.splitting import assign_splits
from didact.types import IGNORE, is_labelled


def make(size, classes=2, seed=0, task=None):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(size, 3, generator=generator)
    label = torch.arange(size) % classes if task != "regression" else x.sum(1)
    return sources.from_tensors(x, label, task=task)


def ids(examples):
    return set(examples.tensors["id"].tolist())


@settings(max_examples=30, deadline=None)
@given(st.integers(60, 150), st.integers(0, 10**6), st.floats(0.15, 0.4), st.floats(0.15, 0.4))
def test_a_split_survives_another_order_and_added_rows(size, seed, validation, test):
    examples = make(size, task="regression")
    few = examples.select(torch.randperm(size, generator=torch.Generator().manual_seed(seed))[: size - 20])
    whole = sources.split(examples, validation=validation, test=test, seed=seed)
    part = sources.split(few, validation=validation, test=test, seed=seed)
    for (name, all_rows), (_, some_rows) in zip(whole, part, strict=True):
        assert ids(some_rows) == ids(all_rows) & ids(few), name
    assert sum(one.size for _, one in whole) == size
    assert len(set().union(*(ids(one) for _, one in whole))) == size


def test_fractions_are_met_within_binomial_bounds():
    examples = make(5000)
    for seed in range(20):
        splits = sources.split(examples, validation=0.1, test=0.2, seed=seed)
        for part, fraction in ((splits.train, 0.7), (splits.validation, 0.1), (splits.test, 0.2)):
            bound = 4 * math.sqrt(5000 * fraction * (1 - fraction))
            assert abs(part.size - 5000 * fraction) < bound


def test_a_larger_test_keeps_the_smaller_one_and_seeds_differ():
    examples = make(300)
    small, large = (sources.split(examples, validation=0, test=test) for test in (0.2, 0.5))
    assert ids(small.test) < ids(large.test)
    assert small.validation.size == 0
    other = sources.split(examples, validation=0, test=0.2, seed=1)
    common = len(ids(small.test) & ids(other.test))
    assert common < 30  # 300 * 0.2 * 0.2 = 12 expected


def test_equal_rows_are_never_split_apart():
    x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0)).repeat(5, 1)
    splits = sources.split(sources.from_tensors(x, torch.arange(1000) % 2))
    assert sum(len(ids(part)) for _, part in splits) == 200
    assert not sources.find_duplicates(splits)


def labelled(label, **tensors):
    x = torch.randn(len(label), 3, generator=torch.Generator().manual_seed(1))
    return sources.from_tensors(x, label, task="classification").with_tensors(**tensors)


def class_counts(splits):
    """How many rows of each class each split has: [3, C]."""
    classes = len(splits.train.classes)
    return torch.stack([part.tensors["label"].bincount(minlength=classes) for _, part in splits])


@pytest.mark.parametrize("classes", [50, 200])
def test_classes_of_ten_rows_are_shared_exactly_with_every_seed(classes):
    examples = labelled(torch.arange(classes * 10) % classes)
    for seed in range(20):
        counts = class_counts(sources.split(examples, seed=seed))
        assert counts.unique(dim=1).tolist() == [[7], [1], [2]]


def test_classes_of_three_rows_keep_their_shares_on_average_and_are_always_learned():
    examples = labelled(torch.arange(300) % 100)
    counts = torch.stack([class_counts(sources.split(examples, seed=seed)) for seed in range(60)])
    assert bool((counts.sum(1) == 3).all())
    assert bool((counts[:, 0] > 0).all())
    shares = counts.double().mean((0, 2)) / 3
    # A class has 0 or 1 test rows, with a deviation of 0.49: over 6,000 draws 0.002 of its share.
    assert torch.allclose(shares, torch.tensor([0.7, 0.1, 0.2], dtype=torch.float64), atol=0.01)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=2, max_size=6),
    st.floats(0.0, 0.5),
    st.floats(0.05, 0.45),
    st.integers(0, 10**6),
)
def test_each_class_keeps_its_shares_to_a_row(sizes, validation, test, seed):
    label = torch.cat([torch.full((size,), number) for number, size in enumerate(sizes)])
    keys = torch.randint(2**62, (len(label),), generator=torch.Generator().manual_seed(seed))
    try:
        masks = assign_splits(keys, validation=validation, test=test, seed=seed, labels=label)
    except DataError:
        return  # so few rows that a split is empty
    held = 0
    for mask, fraction in zip(masks[::-1], (test, validation, None), strict=True):
        counts = label[mask].bincount(minlength=len(sizes))
        for size, count in zip(sizes, counts.tolist(), strict=True):
            if fraction is None:
                assert count >= 1
            elif size * (1 - test - validation) >= 1:
                assert math.floor(size * fraction - 1e-9) <= count <= math.ceil(size * fraction + 1e-9)
        held += int(counts.sum())
    assert held == len(label)


def test_added_rows_move_at_most_one_row_each_over_a_border():
    keys = torch.randint(2**62, (400,), generator=torch.Generator().manual_seed(3))
    label = (torch.arange(400) % 7 == 0).long()
    place = {}
    for count in range(300, 401):
        masks = assign_splits(keys[:count], validation=0.1, test=0.2, seed=0, labels=label[:count])
        split = sum(number * mask.long() for number, mask in enumerate(masks))
        now = dict(zip(keys[:count].tolist(), split.tolist(), strict=True))
        moved = [(place[key], now[key]) for key in place if place[key] != now[key]]
        assert len(moved) <= 2
        assert len(set(moved)) == len(moved)
        assert all(abs(old - new) == 1 for old, new in moved)
        place = now


def test_another_order_moves_nothing():
    examples = make(500, classes=5)
    order = torch.randperm(500, generator=torch.Generator().manual_seed(1))
    for (_, one), (_, other) in zip(sources.split(examples), sources.split(examples.select(order)), strict=True):
        assert ids(one) == ids(other)


def test_groups_stay_together_and_rare_classes_are_shared_out():
    generator = torch.Generator().manual_seed(0)
    group = torch.randint(120, (1000,), generator=generator)
    # Ten groups hold a row of a rare class beside many of the usual ones.
    label = torch.randint(2, (1000,), generator=generator)
    rare = torch.stack([(group == number).nonzero()[0, 0] for number in range(10)])
    label[rare] = 2
    for seed in range(10):
        splits = sources.split(labelled(label, group=group), seed=seed)
        found = [set(part.tensors["group"].tolist()) for _, part in splits]
        assert sum(map(len, found)) == len(group.unique())
        assert 1 <= class_counts(splits)[2, 2] <= 3
        assert abs(splits.test.size - 200) < 40


def test_the_latest_rows_are_the_test_with_every_seed():
    time = torch.randperm(100, generator=torch.Generator().manual_seed(0))
    examples = labelled(torch.arange(100) % 2, time=time)
    for seed in range(3):
        splits = sources.split(examples, seed=seed)
        for (_, part), wanted in zip(splits, (range(70), range(70, 80), range(80, 100)), strict=True):
            held = torch.isin(examples.tensors["id"], part.tensors["id"])
            assert sorted(time[held].tolist()) == list(wanted)
            assert "time" not in part.tensors


def test_rows_of_the_same_time_and_groups_are_not_split_in_time():
    # Four months of 25 rows: the middle of the third is at 62.5, behind the border at 60, that of the second is not.
    time = torch.arange(100) // 25
    masks = assign_splits(torch.arange(100), validation=0.2, test=0.2, seed=0, time=time)
    places = [list(range(50)), list(range(50, 75)), list(range(75, 100))]
    assert [mask.nonzero()[:, 0].tolist() for mask in masks] == places
    # A group counts from its latest row: here each of ten groups has a row in every tenth of the time.
    group = torch.arange(100) % 10
    masks = assign_splits(group, validation=0.1, test=0.2, seed=0, time=torch.arange(100).double())
    assert [sorted(set(group[mask].tolist())) for mask in masks] == [list(range(7)), [7], [8, 9]]


def test_a_tensor_of_splits_decides_alone():
    where = torch.tensor([0, 2, 1, 0, 2, 0])
    examples = labelled(torch.tensor([0, 1, 0, 1, 0, 1]), split=where)
    for seed in range(3):
        splits = sources.split(examples, seed=seed)
        for number, (_, part) in enumerate(splits):
            assert part.tensors["id"].tolist() == examples.tensors["id"][where == number].tolist()
            assert "split" not in part.tensors
    with pytest.raises(DataError, match="The split test is empty"):
        sources.split(examples.with_tensors(split=where.clamp(max=1)))


def test_arranged_examples_have_the_same_splits_as_views():
    examples = make(200)
    arranged = sources.arrange(examples, validation=0.2, test=0.3, seed=3)
    expected = sources.split(examples, validation=0.2, test=0.3, seed=3)
    start = 0
    for (name, part), (_, whole) in zip(sources.split(arranged), expected, strict=True):
        assert all(torch.equal(tensor, whole.tensors[key]) for key, tensor in part.tensors.items()), name
        assert part.tensors["x"].data_ptr() == arranged.tensors["x"][start:].data_ptr()
        start += part.size
    assert start == examples.size


def test_a_class_that_never_occurs_is_no_reason_to_refuse():
    splits = sources.split(dataclasses.replace(make(200), classes=("0", "1", "never")))
    assert sum(part.size for _, part in splits) == 200
    assert splits.train.classes == ("0", "1", "never")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validation": -0.1}, "validation is -0.1"),
        ({"test": 1.0}, "test is 1.0"),
        ({"validation": 0.5, "test": 0.5}, "validation \\+ test is 1.0"),
    ],
)
def test_impossible_fractions_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        sources.split(make(20), **options)


def test_an_empty_split_is_refused():
    with pytest.raises(DataError, match=r"split validation is empty: its fraction of 8 examples is 1e-09"):
        sources.split(make(8), validation=1e-9, test=0.5)


def seats(sizes, count):
    """Sainte-Laguë by hand: one seat each, then again and again to the highest average."""
    given = dict.fromkeys(sizes, 1)
    while sum(given.values()) < count:
        winner = max(sizes, key=lambda name: sizes[name] / (2 * given[name] + 1))
        given[winner] += 1
    return list(given.values())


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(2, 30), min_size=2, max_size=5, unique=True), st.data())
def test_labels_are_kept_by_class_in_proportion(sizes, data):
    label = torch.cat([torch.full((size,), number) for number, size in enumerate(sizes)])
    examples = sources.from_tensors(torch.randn(len(label), 2), label)
    count = data.draw(st.integers(len(sizes), sum(sizes)))
    kept = sources.keep_labels(examples, count, seed=3).tensors["label"]
    there = kept != IGNORE
    assert torch.equal(kept[there], label[there])
    counts = kept[there].bincount(minlength=len(sizes)).tolist()
    expected = seats(dict(enumerate(sizes)), count)
    assert sum(counts) == count
    # Two classes may have the same average for the last seat.
    assert max(abs(a - b) for a, b in zip(counts, expected, strict=True)) <= 1


def test_kept_labels_survive_another_order_and_grow():
    digits = worlds.load("digits")
    hundred, two_hundred = (sources.keep_labels(digits, count, seed=5) for count in (100, 200))
    chosen = {
        i for i, y in zip(*(digits.tensors["id"].tolist(), hundred.tensors["label"].tolist()), strict=True) if y >= 0
    }
    order = torch.randperm(digits.size)
    shuffled = sources.keep_labels(digits.select(order), 100, seed=5)
    assert ids(shuffled.select(is_labelled(shuffled.tensors["label"]))) == chosen
    assert chosen < ids(two_hundred.select(is_labelled(two_hundred.tensors["label"])))
    counts = hundred.tensors["label"][hundred.tensors["label"] >= 0].bincount()
    assert counts.tolist() == [10] * 10


def test_kept_labels_have_nothing_to_do_with_the_split():
    examples = make(4000)
    test = sources.split(examples, validation=0, test=0.5).test
    kept = sources.keep_labels(examples, 400)
    inside = len(ids(kept.select(is_labelled(kept.tensors["label"]))) & ids(test))
    assert abs(inside - 200) < 4 * 10


def test_quantities_are_kept_by_chance_alone():
    examples = make(50, task="regression")
    kept = sources.keep_labels(examples, 7, seed=1).tensors["label"]
    assert (~kept.isnan()).sum() == 7
    assert torch.equal(kept[~kept.isnan()], examples.tensors["label"][~kept.isnan()])
    assert not torch.equal(kept.isnan(), sources.keep_labels(examples, 7, seed=2).tensors["label"].isnan())


@pytest.mark.parametrize(
    ("count", "message"),
    [
        (31, "labels is 31, but only 30 examples are labelled"),
        (2, "labels is 2, but must be at least 3, so that every class has one"),
    ],
)
def test_impossible_counts_are_refused(count, message):
    with pytest.raises(ConfigError, match=message):
        sources.keep_labels(make(30, classes=3), count)


def test_duplicates_are_named_with_both_ids():
    x = torch.randn(30, 2)
    x[20] = x[3]
    examples = sources.from_tensors(x, torch.arange(30) % 2, ids=np.arange(30))
    train, test = examples.select(torch.arange(15)), examples.select(torch.arange(15, 30))
    found = sources.find_duplicates(sources.Splits(train, examples.select(torch.arange(0)), test))
    assert [(d.splits, d.ids) for d in found] == [
        (("train", "test"), (int(train.tensors["id"][3]), int(test.tensors["id"][5])))
    ]
    assert str(found[0]) == (f"train (id {found[0].ids[0]}) and test (id {found[0].ids[1]}) have the same inputs.")


def test_a_fingerprint_changes_with_the_data_and_not_with_their_order():
    examples = make(30)
    print_ = sources.fingerprint(examples)
    assert sources.fingerprint(examples.select(torch.randperm(30))) == print_
    x, label = examples.tensors["x"].clone(), examples.tensors["label"].clone()
    x[3, 1] += 1e-6
    label[4] = 1 - label[4]
    swapped = examples.tensors["label"].clone()
    swapped[[0, 1]] = swapped[[1, 0]]
    others = [
        examples.with_tensors(x=x),
        examples.with_tensors(label=label),
        examples.with_tensors(label=swapped),
        examples.select(torch.arange(29)),
        dataclasses.replace(examples, classes=("no", "yes")),
    ]
    assert len({print_, *map(sources.fingerprint, others)}) == 6
    assert len(print_) == 32
    assert int(print_, 16)
