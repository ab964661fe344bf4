"""Bags and the stream, against the digits that they are made of."""

import numpy as np
import torch

from didact import sources, worlds


def test_a_bag_holds_the_images_that_it_names():
    digits, bags = worlds.load("digits").tensors, worlds.load("digits:bags").tensors
    row = {number: place for place, number in enumerate(digits["id"].tolist())}
    for bag in range(0, 1024, 7):
        rows = [row[number] for number in bags["instance_id"][bag].tolist()]
        assert len(set(rows)) == 7
        assert torch.equal(bags["x"][bag], digits["x"][rows])
        assert torch.equal(bags["instance_label"][bag], digits["label"][rows])
        assert bool(bags["label"][bag]) == (9 in digits["label"][rows].tolist())


def test_each_image_is_in_four_bags_of_one_pool():
    bags = worlds.load("digits:bags").tensors
    images, times = np.unique(bags["instance_id"].numpy(), return_counts=True)
    assert len(images) == 64 * 28
    assert (times == 4).all()
    pools = {image: set() for image in images}
    for members, pool in zip(bags["instance_id"].tolist(), bags["group"].tolist(), strict=True):
        for image in members:
            pools[image].add(pool)
    assert all(len(found) == 1 for found in pools.values())


def test_bags_in_different_splits_share_no_image():
    for seed in range(5):
        splits = sources.split(worlds.load("digits:bags"), seed=seed)
        images = [set(part.tensors["instance_id"].flatten().tolist()) for _, part in splits]
        assert not images[0] & images[1]
        assert not images[0] & images[2]
        assert not images[1] & images[2]


def test_about_half_of_the_bags_are_positive():
    """Drawn without regard to pools, a bag of 7 has no 9 with the hypergeometric probability."""
    label = worlds.load("digits:bags").tensors["label"].double()
    absent = np.prod([(1797 - 180 - i) / (1797 - i) for i in range(7)])
    assert abs(float(label.mean()) - (1 - absent)) < 4 * np.sqrt(absent * (1 - absent) / 1024)


def test_the_stream_brings_one_task_after_another_with_every_image_once():
    digits, stream = worlds.load("digits").tensors, worlds.load("digits:stream").tensors
    assert (stream["task_id"].diff() >= 0).all()
    assert torch.equal(stream["task_id"], torch.div(stream["label"], 2, rounding_mode="floor"))
    assert all(354 <= count <= 364 for count in stream["task_id"].bincount().tolist())
    order, ours = digits["id"].argsort(), stream["id"].argsort()
    assert torch.equal(digits["id"][order], stream["id"][ours])
    assert torch.equal(digits["x"][order], stream["x"][ours])


def test_within_a_task_the_order_is_mixed():
    """In a random order of two classes of n/2 each, the classes change about n/2 times."""
    stream = worlds.load("digits:stream").tensors
    for task in range(5):
        label = stream["label"][stream["task_id"] == task]
        changes, expected = int((label.diff() != 0).sum()), len(label) / 2
        assert abs(changes - expected) < 4 * np.sqrt(len(label) / 4)
