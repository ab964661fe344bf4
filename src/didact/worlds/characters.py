"""Capital letters in many fonts."""

import functools
import importlib.util
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from didact import hashing
from didact.errors import MissingExtraError, import_optional
from didact.types import IGNORE, Examples
from didact.worlds._chance import uniform

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""The classes of these worlds."""
FONTS = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique"),
    *("DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique", "DejaVuSansMono-BoldOblique"),
    *("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic"),
    *("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"),
    *("cmr10", "cmb10", "cmss10", "cmti10", "cmtt10", "cmmi10"),
)
"""The fonts, by their number in `font`: those of matplotlib that have all letters."""
TARGET = "BDEFHKPR"
"""The classes of `characters:open_set`."""
KINDS = ("target letter", "other letter", "scrambled")
"""The names of the numbers in `kind`."""
_SCRAMBLED = 1000
_COPIES, _CANVAS, _SIDE, _POINTS = 8, 32, 16, 24


@functools.cache
def characters() -> Examples:
    """Classify capital letters in 22 fonts, each letter of each font drawn eight times with distortions.

    Real: the letters, rendered by Pillow from the fonts that matplotlib ships: DejaVu, STIX and Computer Modern.

    Simulated: the distortions, drawn for each image: a turn by up to 15 degrees, a slope of up to 0.25, a size from 70%
    to 110%, and a shift by up to a tenth of the side.

    Known: 26 classes of 176 images. The eight images of a letter in a font have one `group`, so that the test has
    letters in fonts in which they were not seen. Logistic regression reaches about 50% with
    260 labels and 79% with all; a `cnn:16,32` about 83% with all, after 600 steps.

    Returns:
        `x` float32 [4576, 1, 16, 16] in [0, 1], `label`, `font` (see `FONTS`), `group` and `id`, all int64 [4576].

    Raises:
        MissingExtraError: matplotlib or Pillow is not installed.
    """
    return _examples("characters", by_font=False)


@functools.cache
def fonts() -> Examples:
    """Classify capital letters in fonts that were not seen in training.

    Real: the letters; see `characters`, whose images these are.

    Simulated: their distortions.

    Known: all images of a font have one `group`, so that no split shares a font with another. Logistic regression on
    all labels of the training fonts is right on 74% or 82% of the images in others, on two seeds.

    Returns:
        `x` float32 [4576, 1, 16, 16] in [0, 1], `label`, `font` (see `FONTS`), `group` and `id`, all int64 [4576].

    Raises:
        MissingExtraError: matplotlib or Pillow is not installed.
    """
    return _examples("characters:fonts", by_font=True)


@functools.cache
def open_set() -> Examples:
    """Tell eight similar letters apart, with few images of them beside a heap of others.

    Real: the letters; see `characters`, whose images these are.

    Simulated: what is known of them. The target are B, D, E, F, H, K, P and R: the images of four tenths of these
    letters in their fonts are the test, of one tenth the validation, and of 15% the training data. The others are in
    the open set without a label, with all images of the 18 other letters, and with 1,000 of these once more, whose
    pixels are in random order. Splits are fixed.

    Known: what each image shows. About one in ten of the open set shows a letter of the target.

    Returns:
        `x` float32 [5576, 1, 16, 16] in [0, 1], `label`, `domain` (1 is the open set), `kind` (see `KINDS`), `split`,
        `group` and `id`, all int64 [5576].

    Raises:
        MissingExtraError: matplotlib or Pillow is not installed.
    """
    known = characters().tensors
    place = torch.tensor([TARGET.find(letter) for letter in LETTERS])[known["label"]]
    chance = uniform(known["group"], 1, 0, "characters: open set")[:, 0]
    split = torch.bucketize(chance, torch.tensor([0.4, 0.5, 0.65], dtype=torch.float64))
    kind = (place < 0).long()
    domain = ((split == 3) | (kind == 1)).long()
    others = (kind == 1).nonzero()[:_SCRAMBLED, 0]
    order = uniform(known["id"][others], _SIDE**2, 0, "characters: scrambled").argsort(1)
    scrambled = known["x"][others].flatten(1).gather(1, order).view(-1, 1, _SIDE, _SIDE)
    more = torch.full_like(others, 2)
    splits = torch.where(domain == 1, 0, torch.tensor([2, 1, 0, 0])[split])
    return Examples(
        tensors={
            "x": torch.cat([known["x"], scrambled]),
            "label": torch.cat([torch.where(domain == 1, IGNORE, place), torch.full_like(others, IGNORE)]),
            "domain": torch.cat([domain, torch.ones_like(others)]),
            "kind": torch.cat([kind, more]),
            "split": torch.cat([splits, torch.zeros_like(others)]),
            "group": torch.cat([known["group"], known["group"][others]]),
            "id": torch.cat([known["id"], hashing.keyed_hash(known["id"][others], 0, "characters: scrambled")]),
        },
        task="classification",
        modality="image",
        classes=tuple(TARGET),
        name="characters:open_set",
    )


def _examples(name: str, *, by_font: bool) -> Examples:
    glyphs = len(FONTS) * len(LETTERS)
    numbers = torch.arange(glyphs).repeat_interleave(_COPIES)
    font, label = numbers // len(LETTERS), numbers % len(LETTERS)
    return Examples(
        tensors={
            "x": _images(),
            "label": label,
            "font": font,
            "group": hashing.keyed_hash(font if by_font else numbers, 0, "characters: group"),
            "id": hashing.keyed_hash(torch.arange(len(numbers)), 0, "characters"),
        },
        task="classification",
        modality="image",
        classes=tuple(LETTERS),
        name=name,
    )


@functools.cache
def _images() -> Tensor:
    """Distorted images of all letters in all fonts; float32 [N, 1, 16, 16]."""
    glyphs = torch.stack([_glyph(font, letter) for font in _fonts() for letter in LETTERS])
    glyphs = glyphs.repeat_interleave(_COPIES, 0)[:, None]
    chance = uniform(torch.arange(len(glyphs)), 5, 0, "characters: distortions").float()
    low = torch.tensor([-math.radians(15), -0.25, 0.7, -0.1, -0.1])
    high = torch.tensor([math.radians(15), 0.25, 1.1, 0.1, 0.1])
    turn, slope, size, right, down = (low + chance * (high - low)).unbind(1)
    cos, sin = turn.cos(), turn.sin()
    # From a position in the result back to the glyph, with y down: as `in_style` of the digits.
    first = torch.stack([cos / size, (cos * slope + sin) / size, -right], 1)
    second = torch.stack([-sin / size, (cos - sin * slope) / size, -down], 1)
    grid = F.affine_grid(torch.stack([first, second], 1), list(glyphs.shape), align_corners=False)
    large = F.grid_sample(glyphs, grid, align_corners=False)
    return F.avg_pool2d(large, _CANVAS // _SIDE).clamp(0, 1)


def _glyph(font: Path, letter: str) -> Tensor:
    """A letter in the middle of a canvas; float32 [32, 32] in [0, 1]."""
    image_of, draw_of, font_of = (
        import_optional(f"PIL.{name}", "worlds", "The world 'characters'", "Pillow")
        for name in ("Image", "ImageDraw", "ImageFont")
    )
    image, half = image_of.new("L", (_CANVAS, _CANVAS)), _CANVAS / 2
    drawn = font_of.truetype(str(font), _POINTS)
    left, top, right, bottom = drawn.getbbox(letter)
    draw_of.Draw(image).text((half - (left + right) / 2, half - (top + bottom) / 2), letter, fill=255, font=drawn)
    return torch.from_numpy(np.array(image)).float() / 255


def _fonts() -> list[Path]:
    """The files of the fonts; matplotlib is not imported."""
    found = importlib.util.find_spec("matplotlib")
    if found is None or found.origin is None:
        raise MissingExtraError("matplotlib", "worlds", "The world 'characters'")
    folder = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf"
    return [folder / f"{name}.ttf" for name in FONTS]
