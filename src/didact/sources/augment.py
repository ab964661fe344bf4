"""Augmentation of whole batches, with random numbers from a generator that is given.

Affine maps of images are torch's own bilinear sampling: nothing leaves the batch, and the global generator is left
alone, so that a resumed run draws what an uninterrupted one would have drawn.
"""

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from didact.errors import ConfigError, check_choice
from didact.preprocessing import TablePreprocessing
from didact.sources.augment_images import crop_flip, cutout, randaugment, warp
from didact.sources.augment_masks import LIGHTS, relight
from didact.sources.augment_series import augment_series
from didact.sources.augment_tables import corrupt, cutmix, owners
from didact.sources.augment_texts import drop, hide, swap
from didact.types import Examples, Modality, Strength

VIEWS: dict[Strength, str] = {
    "none": "The inputs as they are.",
    "weak": "Images turned and shifted a little (with masks only lit otherwise); noise on numbers; series scaled and "
    "noised; 10% of the tokens hidden.",
    "strong": "Images moved further, scaled, sheared, partly erased and noised (with masks only lit, hidden and "
    "noised); more noise on numbers; series cut, warped and noised; 30% of the tokens hidden.",
    "randaugment": "Images changed in colour or moved by two of 14 operations, then partly hidden by a grey square.",
    "crop_flip": "Images shifted by up to an eighth of the side, half of them mirrored; for photographs.",
    "corrupt": "Tables with 60% of the cells of a row from other rows.",
    "cutmix": "Tables with 30% of the cells of a row from another row of the batch.",
    "jitter": "Series with noise of 3% of their standard deviation.",
    "scaling": "Series whose channels are multiplied by a factor around 1, with a deviation of 10%.",
    "window_slice": "A window of 90% of a series, stretched to the whole length.",
    "window_warp": "Series in which a window of 10% passes at half or double speed.",
    "magnitude_warp": "Series multiplied by a smooth curve around 1, with a deviation of 20%.",
    "time_warp": "Series in which time passes at a smoothly varying speed, with a deviation of 20%.",
    "roll": "Series that begin elsewhere, anywhere, and go on from their end to their beginning.",
    "mask": "Texts with 15% of the tokens hidden.",
    "drop": "Texts without 10% of their tokens.",
    "swap": "Texts in which 10% of the pairs of neighbouring tokens change places.",
}
"""The views that there are; see `augmenter`. All examples have the first three."""
Augment = Callable[[Mapping[str, Tensor], torch.Generator], dict[str, Tensor]]
"""Takes the inputs of a batch by name; returns those that changed."""


@dataclass(frozen=True, slots=True)
class _Image:
    """How far an image is moved, at most; never mirrored, as a mirrored digit or letter is another one or none."""

    degrees: float
    shift: float
    """Fraction of the side."""
    zoom: float
    """Natural logarithm of the scale."""
    shear: float = 0.0
    """Tangent of the angle."""
    erase: tuple[float, float] | None = None
    """Least and greatest fraction of the side of a rectangle that is replaced with the image's mean."""
    noise: float = 0.0
    """Standard deviation."""


_IMAGES = {
    "weak": _Image(degrees=8, shift=0.06, zoom=0.0),
    "strong": _Image(degrees=15, shift=0.1, zoom=0.15, shear=0.1, erase=(0.2, 0.4), noise=0.05),
}
_TABLE_NOISE = {"weak": 0.05, "strong": 0.2}
_TOKENS_HIDDEN = {"weak": 0.1, "strong": 0.3, "mask": 0.15}
_OF: Mapping[Modality, tuple[Strength, ...]] = {
    "image": ("randaugment", "crop_flip"),
    "table": ("corrupt", "cutmix"),
    "series": ("jitter", "scaling", "window_slice", "window_warp", "magnitude_warp", "time_warp", "roll"),
    "text": ("mask", "drop", "swap"),
}


def views_of(modality: Modality) -> tuple[Strength, ...]:
    """The views that examples of a kind have, in the order of `VIEWS`."""
    return ("none", "weak", "strong", *_OF[modality])


def augmenter(examples: Examples, strength: Strength, option: str = "augment") -> Augment:
    """How batches of some examples are augmented.

    Images are rotated and shifted a little (`weak`: up to 8 degrees, 6% of the side), or more, and scaled, sheared,
    partly erased and noised (`strong`: up to 15 degrees, 10%, a factor of 1.16, a shear of 0.1); for RandAugment and
    the crop of photographs see `augment_images`. Numbers of a table get Gaussian noise of 0.05 or 0.2 of their column's
    standard deviation; categories stay. Cells of other rows come from `augment_tables`. Series are scaled and noised,
    or cut, warped in time and magnitude, and noised, and have views of their own; see `augment_series`. Of texts, 10%
    or 30% of the tokens, never the first, are hidden through the attention mask, which works with any vocabulary; see
    `augment_texts` for the other views. Images with masks change their light alone; see `augment_masks`.

    Args:
        examples: all that batches will be drawn from.
        strength: one of `VIEWS`.
        option: what names it, for messages.

    Returns:
        A function of the inputs of a batch (`x`, or `input_ids` and `attention_mask`) and a generator on their device;
        it changes nothing in place.

    Raises:
        ConfigError: an unknown strength, or a view that these examples lack.
    """
    check_choice(option, strength, VIEWS)
    masks = examples.task == "segmentation"
    known = ("none", *LIGHTS) if masks else views_of(examples.modality)
    if strength not in known:
        kinds = [kind for kind, views in _OF.items() if strength in views]
        what = "images with masks, whose pixels stay where they are" if masks else examples.modality
        raise ConfigError(
            f"{option} is {strength!r}, a view of {' and '.join(kinds)} data, which {examples.name or 'these data'} "
            f"({what}) lack; use one of {', '.join(known)}."
        )
    if strength == "none":
        return lambda inputs, generator: dict(inputs)
    if masks:
        return lambda inputs, generator: {"x": relight(inputs["x"], LIGHTS[strength], generator)}
    return _MAKERS[examples.modality](examples, strength)


def _of_images(_examples: Examples, strength: Strength) -> Augment:
    if strength == "randaugment":
        return lambda inputs, generator: {"x": cutout(randaugment(inputs["x"], generator), generator)}
    if strength == "crop_flip":
        return lambda inputs, generator: {"x": crop_flip(inputs["x"], generator)}
    return lambda inputs, generator: {"x": augment_images(inputs["x"], _IMAGES[strength], generator)}


def _of_tables(examples: Examples, strength: Strength) -> Augment:
    pool, owner = examples.tensors["x"], owners(examples)
    if strength == "corrupt":
        return lambda inputs, generator: {"x": corrupt(inputs["x"], pool, owner, generator)}
    if strength == "cutmix":
        return lambda inputs, generator: {"x": cutmix(inputs["x"], owner, generator)}
    scale = _column_scale(examples) * _TABLE_NOISE[strength]
    return lambda inputs, generator: {"x": _add_noise(inputs["x"], scale, generator)}


def _of_series(examples: Examples, strength: Strength) -> Augment:
    spread = examples.tensors["x"].std((0, 2), correction=0)[:, None]
    unit = torch.where(spread > 0, spread, 1.0)
    return lambda inputs, generator: {"x": augment_series(inputs["x"], strength, unit, generator)}


def _of_texts(_examples: Examples, strength: Strength) -> Augment:
    def change(inputs: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        if strength == "drop":
            ids, mask = drop(ids, mask, generator)
        elif strength == "swap":
            ids = swap(ids, mask, generator)
        else:
            mask = hide(mask, _TOKENS_HIDDEN[strength], generator)
        return {"input_ids": ids, "attention_mask": mask}

    return change


_MAKERS = {"image": _of_images, "table": _of_tables, "series": _of_series, "text": _of_texts}


def augment_images(x: Tensor, how: _Image, generator: torch.Generator) -> Tensor:
    """Move, erase and noise images.

    Args:
        x: float [B, C, H, W] in [0, 1].
        how: how far.
        generator: on the device of `x`.

    Returns:
        As `x`.
    """
    moved = warp(x, _random_maps(x, how, generator))
    if how.erase is not None:
        moved = torch.where(_rectangles(x, how.erase, generator), x.mean((2, 3), keepdim=True), moved)
    if how.noise:
        noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        moved = moved.add(noise, alpha=how.noise).clamp_(0, 1)
    return moved


def _random_maps(x: Tensor, how: _Image, generator: torch.Generator) -> Tensor:
    """Maps for `warp`, every part uniform between its bounds; [B, 2, 3]."""
    batch, _, height, width = x.shape
    bounds = (math.radians(how.degrees), how.shift * width, how.shift * height, how.zoom, how.shear)
    chance = torch.rand(batch, len(bounds), generator=generator, device=x.device, dtype=x.dtype)
    bound = torch.tensor(bounds, device=x.device, dtype=x.dtype)
    angle, right, down, zoom, shear = (chance * (2 * bound)).sub_(bound).unbind(1)
    cos, sin = angle.cos(), angle.sin()
    if how.zoom:
        scale = zoom.exp()
        cos, sin = cos * scale, sin * scale
    across, along = (cos * shear - sin, sin * shear + cos) if how.shear else (-sin, cos)
    return torch.stack([cos, across, right, sin, along, down], 1).view(batch, 2, 3)


def _rectangles(x: Tensor, sides: tuple[float, float], generator: torch.Generator) -> Tensor:
    """One rectangle an image, anywhere inside it; bool [B, 1, H, W], True where a pixel's centre lies in it."""
    batch, _, height, width = x.shape
    chance = torch.rand(2, 2, batch, 1, generator=generator, device=x.device, dtype=x.dtype)
    side = chance[0] * (sides[1] - sides[0]) + sides[0]
    start = chance[1] * (1 - side)
    middle, reach = start + side / 2, side / 2
    rows = (_centres(height, x.dtype, x.device) - middle[0]).abs_() < reach[0]
    columns = (_centres(width, x.dtype, x.device) - middle[1]).abs_() < reach[1]
    return (rows[:, :, None] & columns[:, None, :])[:, None]


@functools.lru_cache(maxsize=64)
def _centres(length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Where the centres of a row of pixels lie in [0, 1]; [length]."""
    return (torch.arange(length, dtype=dtype, device=device) + 0.5) / length


def _column_scale(examples: Examples) -> Tensor:
    """The standard deviation of each number's column, 0 for categories; float32 [F] (or the shape of one input)."""
    scale = examples.tensors["x"].std(0, correction=0)
    if isinstance(examples.preprocessing, TablePreprocessing):
        number = torch.tensor(examples.preprocessing.quantities)
        scale = scale * number
    return scale


def _add_noise(x: Tensor, scale: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    return torch.addcmul(x, noise, scale)
