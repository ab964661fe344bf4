"""Digits with something done to them, against slow transcriptions with SciPy and loops."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from didact import sources, worlds
from didact.types import Batch
from didact.worlds.digits.altered import DEFECTS, STYLES

CLEAN = worlds.load("digits").tensors["x"].numpy()[:, 0]


def arrays(name, *keys):
    tensors = worlds.load(name).tensors
    return [tensors[key].numpy() for key in keys]


def test_defects_are_where_the_mask_says_and_of_the_kind_they_are_said_to_be():
    x, label, kind, mask = arrays("digits:defects", "x", "label", "defect", "defect_mask")
    assert np.array_equal(label, kind > 0)
    for image, clean, number, changed in zip(x[:, 0], CLEAN, kind, mask[:, 0], strict=True):
        assert np.array_equal(image[~changed], clean[~changed])
        assert (image[changed] != clean[changed]).all()
        assert changed.any() == (number > 0)
        rows, columns = np.nonzero(changed)
        if DEFECTS[number] == "spot":
            top, left = np.argwhere(image - clean == (image - clean).max())[0]
            assert (image[changed] == 1).all()
            assert np.ptp(rows) <= 1
            assert np.ptp(columns) <= 1
            assert clean[top, left] < 1
        elif DEFECTS[number] == "gap":
            assert (image[changed] == 0).all()
            assert np.ptp(rows) <= 2
            assert np.ptp(columns) <= 2
        elif DEFECTS[number] == "streak":
            assert np.array_equal(image[rows[0]], np.maximum(clean[rows[0]], 0.5))
            assert np.ptp(rows) == 0


def test_gaps_are_where_much_ink_is_and_spots_where_little_is():
    """The squares' scores have less than one unit of chance in them; so they are within it of the extreme square."""
    _, kind, mask = arrays("digits:defects", "x", "defect", "defect_mask")
    for name, side in (("spot", 2), ("gap", 3)):
        for clean, changed in zip(
            CLEAN[kind == DEFECTS.index(name)], mask[kind == DEFECTS.index(name), 0], strict=True
        ):
            sums = np.lib.stride_tricks.sliding_window_view(clean, (side, side)).sum((2, 3))
            covering = [
                sums[i, j]
                for i in range(9 - side)
                for j in range(9 - side)
                if changed[i : i + side, j : j + side].sum() == changed.sum()
            ]
            assert min(covering) < sums.min() + 1 if name == "spot" else max(covering) > sums.max() - 1


def test_about_three_in_ten_have_a_defect_and_each_kind_is_as_frequent():
    (kind,) = arrays("digits:defects", "defect")
    counts, size = np.bincount(kind), len(kind)
    assert abs(counts[0] - 0.7 * size) < 4 * np.sqrt(size * 0.7 * 0.3)
    assert (np.abs(counts[1:] - 0.1 * size) < 4 * np.sqrt(size * 0.1 * 0.9)).all()


def test_defects_keep_the_rows_of_digits():
    digits, defects = worlds.load("digits").tensors, worlds.load("digits:defects").tensors
    assert torch.equal(digits["id"], defects["id"])
    assert torch.equal(digits["label"], defects["digit"])


def test_the_background_never_lightens_a_pixel_and_is_uniform_where_there_is_no_ink():
    noisy, clean = arrays("digits:privileged", "x", "privileged.x")
    assert np.array_equal(clean[:, 0], CLEAN)
    assert (noisy >= clean).all()
    blank = noisy[clean == 0]
    for quantile in (0.1, 0.5, 0.9):
        bound = 4 * np.sqrt(quantile * (1 - quantile) / len(blank))
        assert np.mean(blank < 0.9 * quantile) == pytest.approx(quantile, abs=bound)
    assert abs(np.corrcoef(blank[:-1], blank[1:])[0, 1]) < 4 / np.sqrt(len(blank))


def test_the_view_is_what_a_teacher_sees():
    batch = next(iter(sources.BatchSource(worlds.load("digits:privileged"), batch_size=16)))
    seen = batch.view("privileged")
    assert isinstance(seen, Batch)
    assert torch.equal(seen["x"], batch["privileged.x"])
    assert not torch.equal(seen["x"], batch["x"])


def slow_style(image, style):
    """Sample at the place that each pixel came from: forward maps in (down, right), inverted by NumPy."""
    angle = np.radians(style.degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])  # clockwise, as rows go down
    lean = np.array([[1.0, 0.0], [-style.shear, 1.0]])  # what is higher up moves to the right
    back = np.linalg.inv(style.zoom * turn @ lean)
    centre = np.full(2, 3.5)
    wide = np.pad(image, 4)
    moved = ndimage.affine_transform(wide, back, offset=centre + 4 - back @ centre, order=1, output_shape=(8, 8))
    return style.offset + style.contrast * moved


@pytest.mark.parametrize("number", range(len(STYLES)))
def test_styles_are_what_they_say(number):
    x, style = arrays("digits:styles", "x", "style")
    shown = x[style == number][:, 0]
    for image, clean in zip(shown[:40], CLEAN[:40], strict=True):
        assert image == pytest.approx(slow_style(clean, STYLES[number]), abs=1e-5)


def test_an_image_is_in_one_split_in_all_its_styles():
    examples = worlds.load("digits:styles")
    splits = sources.split(examples, seed=3)
    groups = [set(part.tensors["group"].tolist()) for _, part in splits]
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    assert not groups[1] & groups[2]
    plain = sources.split(worlds.load("digits"), seed=3)
    assert [set(part.tensors["id"].tolist()) for _, part in plain] == groups
    for _, part in splits:
        assert (part.tensors["style"].bincount() == len(part.tensors["group"].unique())).all()


def test_weak_labels_are_right_for_half_and_else_the_digit_below():
    label, given = arrays("digits:weak", "label", "weak")
    apart = (label - given) % 10
    assert set(apart) == {0, 1}
    assert apart.mean() == pytest.approx(0.5, abs=0.04)
