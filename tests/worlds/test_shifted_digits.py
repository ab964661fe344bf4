"""Digits of two domains, against slow transcriptions."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from didact import sources, worlds
from didact.types import IGNORE
from didact.worlds.digits.shifted import CORRUPTIONS, NOISE

CLEAN = worlds.load("digits").tensors


def clean_of(ids):
    """The clean images of ids of `digits`, [N, 8, 8]."""
    place = {one: row for row, one in enumerate(CLEAN["id"].tolist())}
    return CLEAN["x"].numpy()[[place[one] for one in ids.tolist()], 0]


def blur(images):
    kernel = np.full((1, 3, 3), 1 / 9)
    once = ndimage.convolve(images.astype(np.float64), kernel, mode="constant")
    return ndimage.convolve(once, kernel, mode="constant")


def test_the_colour_is_a_hint_in_training_and_always_wrong_in_the_test():
    t = {key: value.numpy() for key, value in worlds.load("digits:coloured").tensors.items()}
    right = t["colour"] == (t["label"] >= 5)
    assert not right[t["split"] == 2].any()
    assert (t["environment"] == 2).tolist() == (t["split"] == 2).tolist()
    for environment, share in ((0, 0.95), (1, 0.75)):
        here = right[t["environment"] == environment]
        assert here.mean() == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / len(here)))
    ink = np.take_along_axis(t["x"], t["colour"][:, None, None, None], 1)[:, 0]
    clean = CLEAN["x"].numpy()[:, 0]
    middle = np.abs(clean - 0.5) < 0.01  # where the noise is hardly cut
    assert ink[middle].mean() == pytest.approx(0.5, abs=4 * NOISE / np.sqrt(middle.sum()))
    away = np.take_along_axis(t["x"], 1 - t["colour"][:, None, None, None], 1)[:, 0]
    assert away.mean() == pytest.approx(NOISE / np.sqrt(2 * np.pi), abs=0.01)


def test_the_mark_of_a_writer_is_a_hint_in_training_alone():
    t = {key: value.numpy() for key, value in worlds.load("digits:marked").tensors.items()}
    own = t["writer"] == t["label"]
    for split, share in ((0, 0.91), (1, 0.1), (2, 0.1)):
        here = own[t["split"] == split]
        assert here.mean() == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / len(here)))
    clean = CLEAN["x"].numpy()
    row, column = np.divmod(t["writer"], 2)
    assert (t["x"][np.arange(len(row)), 0, row, 7 * column] == 1).all()
    assert ((t["x"] != clean).sum((1, 2, 3)) <= 1).all()
    assert len(np.unique(t["writer"])) == 10


def test_blurred_digits_are_the_target_and_their_training_labels_are_hidden():
    t = worlds.load("digits:blurred").tensors
    target, clean = t["domain"].numpy() == 1, clean_of(t["id"])
    np.testing.assert_allclose(t["x"].numpy()[target, 0], blur(clean[target]), atol=1e-6)
    assert np.array_equal(t["x"].numpy()[~target, 0], clean[~target])
    hidden = (t["label"] == IGNORE).numpy()
    assert np.array_equal(hidden, target & (t["split"] == 0).numpy())
    assert torch.equal(t["label"][~hidden], CLEAN["label"][~hidden])
    assert not (t["split"][~target] > 0).any()


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_each_corruption_is_what_it_says(kind):
    t = worlds.load("digits:corrupted").tensors
    there = t["corruption"] == CORRUPTIONS.index(kind)
    x, clean = t["x"][there, 0].numpy(), clean_of(t["group"][there])
    wanted = {"none": clean, "faint": clean / 4, "bright": 0.6 + 0.4 * clean, "blurred": blur(clean)}
    if kind == "noisy":
        middle = np.abs(clean - 0.5) < 0.07
        assert (x - clean)[middle].std() == pytest.approx(0.27, abs=0.02)  # of 0.3, cut at 0 and 1
    else:
        np.testing.assert_allclose(x, wanted[kind], atol=1e-6)
    assert bool((t["domain"][there] == int(kind != "none")).all())


def test_an_image_is_in_one_split_in_all_its_corruptions():
    examples = worlds.load("digits:corrupted")
    groups = [set(part.tensors["group"].tolist()) for _, part in sources.split(examples)]
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]
    known = examples.tensors["label"] != IGNORE
    source = examples.tensors["domain"] == 0
    assert torch.equal(known, source | (examples.tensors["split"] > 0))
