"""RandAugment operation by operation against Pillow and kornia, and as a whole against a slow transcription."""

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from didact.sources import augment_images as views

COLOURS = {change.__name__: change for change in views.COLOURS}
BYTES = torch.randint(40, 200, (6, 3, 30, 34), generator=torch.Generator().manual_seed(0)).float()
"""Images of whole levels, not all of which occur."""
CHANCE = torch.tensor([0.01, 0.21, 0.41, 0.55, 0.81, 0.99])


def seeded(seed=1):
    return torch.Generator().manual_seed(seed)


def changed(name, x, chance=CHANCE):
    """The images after one of the operations on colours."""
    x = x.clone()
    COLOURS[name](x, chance[: len(x), None, None, None])
    return x


def pillow(x, change):
    """Images in [0, 1] that Pillow changes one by one, given each image and its number."""
    rows = (x * 255).round().byte().permute(0, 2, 3, 1).numpy()
    found = [np.asarray(change(Image.fromarray(row), i)) for i, row in enumerate(rows)]
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).float() / 255


KEPT = 0.05 + 0.9 * CHANCE
PILLOW = {
    "brightness": (lambda image, i: ImageEnhance.Brightness(image).enhance(float(KEPT[i])), 1.01),
    "colour": (lambda image, i: ImageEnhance.Color(image).enhance(float(KEPT[i])), 2.01),
    "contrast": (lambda image, i: ImageEnhance.Contrast(image).enhance(float(KEPT[i])), 2.01),
    "sharpness": (lambda image, i: ImageEnhance.Sharpness(image).enhance(float(KEPT[i])), 2.01),
    "autocontrast": (lambda image, _: ImageOps.autocontrast(image), 1.01),
    "posterize": (lambda image, i: ImageOps.posterize(image, int(4 + 4 * float(CHANCE[i]))), 0.01),
    "solarize": (lambda image, i: ImageOps.solarize(image, math.ceil(255 * float(CHANCE[i]))), 0.01),
    "equalize": (lambda image, _: ImageOps.equalize(image), 0.01),
    "same": (lambda image, _: image, 0.01),
}
"""What the authors call for each operation, and by how many levels the results may differ: Pillow rounds to levels."""


@pytest.mark.parametrize("name", COLOURS)
def test_colours_change_as_pillow_changes_them(name):
    change, levels = PILLOW[name]
    difference = 255 * (changed(name, BYTES / 255) - pillow(BYTES / 255, change)).abs().max()
    assert difference <= levels
    if name != "same":
        assert (changed(name, BYTES / 255) - BYTES / 255).abs().max() > 0.05


def test_colours_change_as_kornia_changes_them():
    enhance = pytest.importorskip("kornia.enhance")
    x = torch.rand(6, 3, 9, 11, generator=seeded())
    expected = {
        "brightness": enhance.adjust_brightness_accumulative(x, KEPT),
        "colour": enhance.adjust_saturation_with_gray_subtraction(x, KEPT),
        "contrast": enhance.adjust_contrast_with_mean_subtraction(x, KEPT),
        "sharpness": enhance.sharpness(x, KEPT),
        "autocontrast": enhance.normalize_min_max(x),
        "posterize": enhance.posterize(x, (4 + 4 * CHANCE).int()),
        "solarize": enhance.solarize(x, CHANCE),
        "equalize": enhance.equalize(x),
    }
    for name, image in expected.items():
        torch.testing.assert_close(changed(name, x), image, atol=3e-5, rtol=0, msg=name)


def test_an_image_of_one_channel_or_one_value_stays_an_image():
    flat = torch.full((2, 1, 4, 4), 0.3)
    for name in ("colour", "contrast", "sharpness", "autocontrast", "equalize"):
        torch.testing.assert_close(changed(name, flat), flat, msg=name)
    tiny = torch.rand(2, 1, 2, 2)
    assert torch.equal(changed("sharpness", tiny), tiny)


MAPS = {
    "rotate": lambda v: (math.cos(30 * v), -math.sin(30 * v), 0, math.sin(30 * v), math.cos(30 * v), 0),
    "shear_x": lambda v: (1, 0.3 * v, 0, 0, 1, 0),
    "shear_y": lambda v: (1, 0, 0, 0.3 * v, 1, 0),
    "translate_x": lambda v: (1, 0, 0.3 * 11 * v, 0, 1, 0),
    "translate_y": lambda v: (1, 0, 0, 0, 1, 0.3 * 9 * v),
}
"""The coefficients (a, b, c, d, e, f) that the authors give to Pillow, by the magnitude in [-1, 1); angles below."""


def slow(x, chosen, chance):
    """RandAugment image by image, one operation after the other; [B, C, H, W]."""
    names = [change.__name__ for change in (*views.MOVES, *views.COLOURS)]
    result = []
    for i in range(len(x)):
        image = x[i : i + 1]
        for operations, amounts in zip(chosen, chance, strict=True):
            name, amount = names[operations[i]], amounts[i : i + 1]
            if name in COLOURS:
                image = changed(name, image, amount)
            else:
                v = 2 * float(amount) - 1
                v = math.radians(v) if name == "rotate" else v
                image = views.warp(image, torch.tensor(MAPS[name](v)).view(1, 2, 3))
        result.append(image)
    return torch.cat(result)


def test_each_image_gets_the_two_operations_drawn_for_it():
    x = torch.rand(120, 3, 9, 11, generator=seeded())
    before, draws = x.clone(), seeded(3)
    chosen = torch.randint(14, (2, 120), generator=draws)
    chance = torch.rand(2, 120, generator=draws)
    found = views.randaugment(x, seeded(3))
    torch.testing.assert_close(found, slow(x, chosen.tolist(), chance), atol=1e-5, rtol=0)
    assert torch.equal(x, before)
    assert len(chosen.unique()) == 14


def test_moves_are_those_of_kornia():
    augmentation = pytest.importorskip("kornia.augmentation")
    x = torch.rand(1, 3, 9, 11, generator=seeded())
    for name, given in (("shear_x", {"shear": (10.0, 10.0)}), ("rotate", {"degrees": (20.0, 20.0)})):
        move = {"shear_x": augmentation.RandomShear, "rotate": augmentation.RandomRotation}[name]
        expected = move(*given.values(), p=1.0)(x)
        found = []
        for sign in (-1, 1):
            value = math.tan(math.radians(10)) / 0.3 if name == "shear_x" else math.radians(20) / 30
            found.append(views.warp(x, torch.tensor(MAPS[name](sign * value)).view(1, 2, 3)))
        assert min(float((one - expected).abs().max()) for one in found) < 1e-4


def test_the_square_of_cutout_has_the_size_and_place_that_is_promised():
    x = torch.zeros(6000, 1, 20, 20)
    hidden = views.cutout(x, seeded())[:, 0]
    assert set(hidden.unique().tolist()) == {0.0, 0.5}
    hidden = hidden > 0
    heights, widths = hidden.any(2).sum(1), hidden.any(1).sum(1)
    assert torch.equal(hidden.sum((1, 2)), heights * widths)
    assert heights.max() == widths.max() == 10
    # A centre that is uniform over the side cuts a square of side s to s - s² / 4 on average: s is uniform up to 0.5.
    assert float(widths.double().mean()) / 20 == pytest.approx(0.25 - 0.25 / 12, abs=0.005)
    assert float(hidden[:, 10, 10].double().mean()) == pytest.approx(0.25 / 3, abs=0.01)


def test_crops_are_shifts_of_the_reflected_image_half_of_them_mirrored():
    image = torch.arange(64.0).view(1, 1, 8, 8)
    padded = np.pad(image[0, 0].numpy(), 1, mode="reflect")
    crops = [padded[d : d + 8, r : r + 8][:, ::way] for d in range(3) for r in range(3) for way in (1, -1)]
    found = views.crop_flip(image.repeat(1800, 1, 1, 1), seeded())[:, 0].numpy()
    counts = [int((found == crop).all((1, 2)).sum()) for crop in crops]
    assert sum(counts) == 1800
    assert min(counts) > 60
    assert max(counts) < 145
