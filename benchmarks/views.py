"""RandAugment on a batch of images: the view `randaugment` next to kornia's own pipeline of the same operations.

In the paper every image has operations of its own. Kornia draws two for a whole batch, so that its pipeline has the
same distribution only where it is given one image at a time; that is the case with a target. With operations drawn for
a batch, each image alone still has the same distribution, in far fewer calls; that is the other case. What every
operation does is compared first. Cutout is left out.
"""

import math
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

import harness
from didact.sources import augment_images as ours

BATCH, SHAPE, SEED = 256, (3, 32, 32), 0
OFTEN = 16
"""Batches of a round, so that the operations that a batch gets average out."""
TARGET = 1 / 3


def images(count: int = BATCH) -> Tensor:
    """Smooth random images float32 [count, 3, 32, 32] in [0, 1]; the same at each call."""
    coarse = torch.rand(count, SHAPE[0], 16, 16, generator=torch.Generator().manual_seed(SEED))
    return nn.functional.interpolate(coarse, SHAPE[1:], mode="bilinear", align_corners=False)


def kornia_operations() -> dict[str, nn.Module]:
    """Kornia's module for each operation of ours, with the same range of magnitudes."""
    from kornia import augmentation as k

    low, high = ours.BLEND
    angle = math.degrees(math.atan(0.3))
    return {
        "rotate": k.RandomRotation(30.0, p=1.0),
        "shear_x": k.RandomShear((-angle, angle, 0.0, 0.0), p=1.0),
        "shear_y": k.RandomShear((0.0, 0.0, -angle, angle), p=1.0),
        "translate_x": k.RandomTranslate((-0.3, 0.3), None, p=1.0),
        "translate_y": k.RandomTranslate(None, (-0.3, 0.3), p=1.0),
        "same": nn.Identity(),
        "brightness": k.ColorJitter(brightness=(low, high), p=1.0),
        "colour": k.ColorJitter(saturation=(low, high), p=1.0),
        "contrast": k.ColorJitter(contrast=(low, high), p=1.0),
        "sharpness": k.RandomSharpness((low, high), p=1.0),
        "autocontrast": k.RandomAutoContrast(p=1.0),
        # The upper end is left out when the number of bits is rounded down.
        "posterize": k.RandomPosterize(bits=(4, 7), p=1.0),
        "solarize": k.RandomSolarize(thresholds=(0.0, 1.0), additions=0.0, p=1.0),
        "equalize": k.RandomEqualize(p=1.0),
    }


class Kornia:
    """Two rounds of one operation each, for a batch."""

    def __init__(self) -> None:
        from kornia.augmentation import ImageSequential

        names = [change.__name__ for change in (*ours.MOVES, *ours.COLOURS)]
        made = kornia_operations()
        self.rounds = [ImageSequential(*(made[name] for name in names), random_apply=1) for _ in range(ours.ROUNDS)]

    def __call__(self, x: Tensor) -> Tensor:
        """The images changed."""
        for one in self.rounds:
            x = one(x)
        return x


def one_operation(number: int, x: Tensor, generator: torch.Generator) -> Tensor:
    """All images changed by one of our operations, each with a magnitude of its own."""
    sizes = [len(x) if place == number else 0 for place in range(len(ours.MOVES) + len(ours.COLOURS))]
    changed = x.clone()
    ours._apply(changed, sizes, torch.rand(len(x), generator=generator))
    return changed


def check(results: Mapping[str, Tensor]) -> None:
    """Each operation moves images by as much on both sides, and all sides returned images.

    At each of 48 places, the mean of the difference to the plain image and of its square must agree to within five
    standard errors.
    """
    for name, found in results.items():
        assert found.shape == (BATCH, *SHAPE), f"{name} returned {tuple(found.shape)}"
        assert bool(((found >= -1e-5) & (found <= 1 + 1e-5)).all()), f"{name} left the range of images"
    torch.manual_seed(SEED)
    x, generator = images(1024), torch.Generator().manual_seed(SEED)
    for number, (name, module) in enumerate(kornia_operations().items()):
        agree(name, x, one_operation(number, x, generator), module(x))


def agree(name: str, x: Tensor, first: Tensor, second: Tensor) -> None:
    """Raise `AssertionError` unless two sets of changed images have the same moments."""
    figures = [(one - x)[:, :, 4::8, 4::8].flatten(1).double() for one in (first, second)]
    for a, b in (figures, [one.square() for one in figures]):
        error = ((a.var(0) + b.var(0)) / len(a)).sqrt().clamp(min=1e-6)
        worst = float(((a.mean(0) - b.mean(0)).abs() / error).max())
        assert worst < 5, f"{name} differs from kornia's: {worst:.1f} standard errors"


def side(change: Callable[[Tensor], Tensor], often: int) -> harness.Side:
    """A side that changes the same batch `often` times."""

    def run(x: Any) -> Tensor:
        found = x
        for _ in range(often):
            found = change(x)
        return found

    return harness.Side(prepare=images, run=run)


def cases(_: Namespace) -> list[harness.Case]:
    """Against kornia with operations drawn for a batch, and drawn for an image."""
    generator = torch.Generator().manual_seed(SEED)
    kornia = Kornia()
    name = "{} x {}x{}x{}".format(BATCH, *SHAPE)
    return [
        harness.Case(
            name=f"{name}, operations of a batch",
            sides={
                "kornia": side(kornia, OFTEN),
                "randaugment": side(lambda x: ours.randaugment(x, generator), OFTEN),
            },
            bound="kornia",
            check=check,
            units=OFTEN,
        ),
        harness.Case(
            name=f"{name}, operations of each image",
            sides={
                "kornia, image by image": side(lambda x: torch.cat([kornia(one) for one in x.split(1)]), 1),
                "randaugment": side(lambda x: ours.randaugment(x, generator), 1),
            },
            bound="kornia, image by image",
            check=check,
            targets={"randaugment": TARGET},
            rounds=10,
        ),
    ]


if __name__ == "__main__":
    sys.exit(harness.main("views", harness.arguments(__doc__ or ""), cases))
