import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from didact import sources, worlds
from didact.errors import ConfigError
from didact.preprocessing import Category, Number, TablePreprocessing
from didact.sources import augment


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def slow_warp(image, matrix):
    """Bilinear sampling at affinely mapped places, pixel by pixel; [H, W]."""
    height, width = image.shape
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    result = np.zeros_like(image)
    for row in range(height):
        for column in range(width):
            x, y = matrix[:, :2] @ (np.array([column, row]) - centre) + matrix[:, 2] + centre
            for i in (int(np.floor(y)), int(np.floor(y)) + 1):
                for j in (int(np.floor(x)), int(np.floor(x)) + 1):
                    if 0 <= i < height and 0 <= j < width:
                        result[row, column] += image[i, j] * (1 - abs(y - i)) * (1 - abs(x - j))
    return result


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 10**6))
def test_warping_is_bilinear_sampling_of_pixels(height, width, seed):
    image = torch.rand(2, 1, height, width, generator=seeded(seed))
    maps = torch.eye(2, 3) + 0.5 * torch.randn(2, 2, 3, generator=seeded(seed + 1))
    expected = [slow_warp(i[0].double().numpy(), m.double().numpy()) for i, m in zip(image, maps, strict=True)]
    np.testing.assert_allclose(augment.warp(image, maps)[:, 0].numpy(), expected, atol=2e-5)


def test_warping_agrees_with_kornia():
    transform = pytest.importorskip("kornia.geometry.transform")
    images = torch.rand(16, 3, 9, 7, generator=seeded())
    how = augment._IMAGES["strong"]
    maps = augment._random_maps(images, how, seeded(1))
    # Kornia wants the way from the source to the result, in pixels from the upper left corner.
    corner = torch.eye(3).repeat(16, 1, 1)
    corner[:, :2, 2] = torch.tensor([3.0, 4.0])
    whole = torch.cat([maps, torch.tensor([0.0, 0.0, 1.0]).expand(16, 1, 3)], 1)
    forward = torch.linalg.inv(corner @ whole @ torch.linalg.inv(corner))
    expected = transform.warp_affine(images, forward[:, :2], (9, 7), padding_mode="zeros")
    torch.testing.assert_close(augment.warp(images, maps), expected, atol=1e-4, rtol=0)


def test_known_maps():
    image = torch.arange(12.0).view(1, 1, 3, 4)
    assert torch.equal(augment.warp(image, torch.eye(2, 3)[None]), image)
    shifted = augment.warp(image, torch.tensor([[[1.0, 0, 1], [0, 1, 0]]]))
    torch.testing.assert_close(shifted[0, 0, :, :3], image[0, 0, :, 1:])
    assert not shifted[0, 0, :, 3].any()
    square = torch.arange(9.0).view(1, 1, 3, 3)
    turned = augment.warp(square, torch.tensor([[[0.0, -1, 0], [1, 0, 0]]]))
    torch.testing.assert_close(turned, torch.rot90(square, 1, (2, 3)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("strength", ["weak", "strong"])
def test_maps_stay_within_what_is_promised(strength):
    how = augment._IMAGES[strength]
    maps = augment._random_maps(torch.zeros(4000, 1, 10, 20), how, seeded())
    scale = torch.linalg.det(maps[:, :, :2]).sqrt()
    angle = torch.rad2deg(torch.atan2(maps[:, 1, 0], maps[:, 0, 0]))
    for figure, bound in (
        (angle, how.degrees),
        (scale.log(), how.zoom),
        (maps[:, 0, 2], 20 * how.shift),
        (maps[:, 1, 2], 10 * how.shift),
    ):
        assert figure.abs().max() <= bound + 1e-4
        assert figure.abs().max() >= 0.95 * bound
        assert abs(figure.mean()) <= 4 * bound / (3 * 4000) ** 0.5 + 1e-7  # the mean of 4000 uniform draws


def test_erased_rectangles_have_the_promised_size_and_stay_inside():
    inside = augment._rectangles(torch.zeros(5000, 1, 20, 30), (0.2, 0.4), seeded())[:, 0]
    heights, widths = inside.any(2).sum(1), inside.any(1).sum(1)
    assert torch.equal(inside.sum((1, 2)), heights * widths)
    assert (heights.min(), heights.max()) == (4, 8)
    assert (widths.min(), widths.max()) == (6, 12)
    assert abs(heights.double().mean() - 20 * 0.3) < 0.1
    assert abs(widths.double().mean() - 30 * 0.3) < 0.15
    assert inside.any(0).all()


@pytest.mark.parametrize("strength", ["weak", "strong"])
def test_images_stay_images_and_the_plain_ones_are_left_alone(strength):
    digits = worlds.load("digits")
    plain = digits.tensors["x"][:64]
    before = plain.clone()
    x = augment.augmenter(digits, strength)({"x": plain}, seeded())["x"]
    assert x.shape == plain.shape
    assert x.dtype == plain.dtype
    assert x.min() >= 0
    assert x.max() <= 1 + 1e-6
    assert torch.equal(plain, before)


def test_digits_can_still_be_told_by_their_nearest_neighbour():
    digits = worlds.load("digits")
    x, label = digits.tensors["x"], digits.tensors["label"]
    found = []
    for strength in ("none", "weak", "strong"):
        changed = augment.augmenter(digits, strength)({"x": x}, seeded())["x"]
        distance = torch.cdist(changed.flatten(1), x.flatten(1)).fill_diagonal_(torch.inf)
        found.append((label[distance.argmin(1)] == label).float().mean().item())
    assert found[0] > found[1] > 0.93 > found[2] > 0.65


@pytest.mark.parametrize(("strength", "share"), [("weak", 0.05), ("strong", 0.2)])
def test_numbers_are_noised_in_their_own_scale_and_categories_are_not(strength, share):
    size = 4000
    rows = torch.randn(size, 3, generator=seeded()) * torch.tensor([1.0, 100.0, 0.0])
    rows[:, 2] = (torch.arange(size) % 2).float()
    examples = sources.from_tensors(rows, torch.arange(size) % 2)
    only = Category(name="c", values=("only",), places=(0,), width=1, unknown=-1, missing=0)
    known = TablePreprocessing((Number(name="a"), Number(name="b"), only))
    examples = dataclasses.replace(examples, preprocessing=known)
    noise = augment.augmenter(examples, strength)({"x": rows}, seeded(1))["x"] - rows
    expected = rows[:, :2].std(0) * share
    torch.testing.assert_close(noise[:, :2].std(0), expected, rtol=0.06, atol=0)
    assert (noise[:, :2].mean(0).abs() < 4 * expected / size**0.5).all()
    assert not noise[:, 2].any()


@pytest.mark.parametrize(("strength", "rate"), [("weak", 0.1), ("strong", 0.3)])
def test_tokens_are_hidden_but_never_the_first_nor_invented(tmp_path, strength, rate):
    path = tmp_path / "t.jsonl"
    path.write_text('{"t": "a longer text of words", "y": 0}\n{"t": "a short old one", "y": 1}\n' * 200)
    examples = sources.load(path, text_column="t")
    inputs = {key: examples.tensors[key] for key in ("input_ids", "attention_mask")}
    seen = augment.augmenter(examples, strength)(inputs, seeded())
    before, after = inputs["attention_mask"], seen["attention_mask"]
    assert torch.equal(seen["input_ids"], inputs["input_ids"])
    assert after[:, 0].all()
    assert (after <= before).all()
    tokens = before[:, 1:].sum().item()
    hidden = tokens - after[:, 1:].sum().item()
    assert abs(hidden / tokens - rate) < 4 * (rate * (1 - rate) / tokens) ** 0.5


def test_none_changes_nothing_and_other_words_are_refused():
    digits = worlds.load("digits")
    inputs = {"x": digits.tensors["x"][:2]}
    assert augment.augmenter(digits, "none")(inputs, seeded())["x"] is inputs["x"]
    with pytest.raises(ConfigError, match=r"augment is 'week', which is not known. Did you mean weak\?"):
        augment.augmenter(digits, "week")  # pyright: ignore[reportArgumentType]
