"""Real digits whose test comes from another distribution than the labels: other colours, other cameras."""

import dataclasses
import functools

import torch
from torch import Tensor
from torch.nn import functional as F

from didact import hashing
from didact.types import IGNORE, Examples
from didact.worlds._chance import normal, uniform
from didact.worlds.digits.plain import digits

HUES = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
"""The ink of digits below five, and that of the others, if the colour is right: red, green and blue, in [0, 1]."""
NOISE = 0.3
"""The standard deviation of the noise on each pixel of `digits:coloured`."""
RIGHT = (0.95, 0.75)
"""By environment of `digits:coloured`, how often the colour is that of the digit."""
CORRUPTIONS = ("none", "faint", "bright", "blurred", "noisy")
"""The names of the numbers in `corruption`."""
_VALIDATION, _TEST = 0.1, 0.3
_SOURCE = 0.5


@functools.cache
def coloured() -> Examples:
    """Classify noisy digits whose colour is a hint in training, and misleads in the test.

    Real: the images and their labels; see `digits`.

    Simulated: the colours and the noise, after Arjovsky et al. (2019), "Invariant risk minimization". The ink is red or
    green, and each channel of each pixel gets normal noise of standard deviation 0.3, cut at 0 and 1. In training and
    validation, digits below five are red and the others green in 95% of the first environment and in 75% of the second,
    with half of the images each, and the other way round in the rest. In the test they always are the other way round.
    Splits are fixed.

    Known: the colour tells whether a digit is below five in 85% of the training images, and in none of the test.

    Returns:
        `x` float32 [1797, 3, 8, 8] in [0, 1], `label` int64 [1797], `id` int64 [1797], that of `digits`; `colour` (1 is
        green), `environment` (2 in the test) and `split` (see `didact.sources.split`), all int64 [1797].

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    plain = digits()
    ids, label = plain.tensors["id"], plain.tensors["label"]
    chance = uniform(ids, 3, 0, "digits:coloured").float()
    split = _split(chance[:, 0])
    environment = torch.where(split == 2, 2, (chance[:, 1] < 0.5).long())
    right = chance[:, 2] < torch.tensor([*RIGHT, 0.0])[environment]
    colour = torch.where(right, label // 5, 1 - label // 5)
    noise = normal(ids, 3 * 64, 0, "digits:coloured: noise").view(-1, 3, 8, 8)
    x = (plain.tensors["x"] * HUES[colour][:, :, None, None] + NOISE * noise).clamp(0, 1)
    tensors = {"x": x, "label": label, "id": ids, "colour": colour, "environment": environment, "split": split}
    return dataclasses.replace(plain, tensors=tensors, name="digits:coloured")


def _split(chance: Tensor) -> Tensor:
    """The split of each example, int64 [N]."""
    return torch.where(chance < _TEST, 2, (chance < _TEST + _VALIDATION).long())


@functools.cache
def blurred() -> Examples:
    """Classify digits that are blurred, with labels of sharp ones alone.

    Real: the images and their labels; see `digits`.

    Simulated: the blur. One half of the images, of the source domain, is as it was. The others, of the target domain,
    are blurred: a mean over 3 by 3 pixels, twice, with 0 outside. Of these, six tenths are for training, without a
    label; the rest are validation and test. Splits are fixed.

    Known: the blur is linear and the same for all. With 300 steps on sharp digits, a small net gets about a third of
    the blurred ones right.

    Returns:
        `x` float32 [1797, 1, 8, 8] in [0, 1], `label`, `id`, that of `digits`, `domain` (1 is the target) and `split`,
        all int64 [1797].

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    plain = digits()
    x, ids, label = plain.tensors["x"], plain.tensors["id"], plain.tensors["label"]
    chance = uniform(ids, 2, 0, "digits:corrupted")
    target = chance[:, 0] >= _SOURCE
    split = torch.where(target, _split(chance[:, 1]), 0)
    tensors = {
        "x": torch.where(target[:, None, None, None], corrupt(x, CORRUPTIONS.index("blurred"), ids), x),
        "label": torch.where(target & (split == 0), IGNORE, label),
        "id": ids,
        "domain": target.long(),
        "split": split,
    }
    return dataclasses.replace(plain, tensors=tensors, name="digits:blurred")


@functools.cache
def corrupted() -> Examples:
    """Classify digits that were taken by bad cameras, with labels of clean ones alone.

    Real: the images and their labels; see `digits`.

    Simulated: the corruptions, after Hendrycks and Dietterich (2019), "Benchmarking neural network robustness". One
    half of the images, of the source domain, is clean. Each of the others, of the target domain, is there four times:
    faint (pixels from 0 to 0.25), bright (from 0.6 to 1), blurred (a mean over 3 by 3 pixels, twice) and noisy (normal
    noise of standard deviation 0.3, cut at 0 and 1). Of the target, six tenths are for training, without a label; the
    rest are validation and test. Splits are fixed; all versions of an image are in the same one.

    Known: faint and bright lose no information: an affine map undoes them.

    Returns:
        `x` float32 [4599, 1, 8, 8] in [0, 1], `label`, `id`, `domain` (0 is the source), `corruption` (see
        `CORRUPTIONS`), `group` (the image's id in `digits`) and `split`, all int64 [4599].

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    plain = digits()
    chance = uniform(plain.tensors["id"], 2, 0, "digits:corrupted")
    target = chance[:, 0] >= _SOURCE
    parts = [(plain.select(~target), 0), *((plain.select(target), number) for number in range(1, len(CORRUPTIONS)))]
    split = [torch.zeros(parts[0][0].size, dtype=torch.int64), *[_split(chance[target, 1])] * (len(CORRUPTIONS) - 1)]
    images = torch.cat([part.tensors["id"] for part, _ in parts])
    kind = torch.cat([torch.full((part.size,), number) for part, number in parts])
    label = torch.cat([part.tensors["label"] for part, _ in parts])
    where = torch.cat(split)
    tensors = {
        "x": torch.cat([corrupt(part.tensors["x"], number, part.tensors["id"]) for part, number in parts]),
        "label": torch.where((kind > 0) & (where == 0), IGNORE, label),
        "id": hashing.of_rows(torch.stack([images, kind], 1)),
        "domain": (kind > 0).long(),
        "corruption": kind,
        "group": images,
        "split": where,
    }
    return dataclasses.replace(plain, tensors=tensors, name="digits:corrupted")


def corrupt(x: Tensor, kind: int, ids: Tensor) -> Tensor:
    """Corrupt images.

    Args:
        x: float32 [N, 1, 8, 8] in [0, 1].
        kind: a number of `CORRUPTIONS`.
        ids: int64 [N], by which the noise is drawn.

    Returns:
        As `x`.
    """
    if CORRUPTIONS[kind] == "faint":
        return 0.25 * x
    if CORRUPTIONS[kind] == "bright":
        return 0.6 + 0.4 * x
    if CORRUPTIONS[kind] == "blurred":
        return F.avg_pool2d(F.avg_pool2d(x, 3, stride=1, padding=1), 3, stride=1, padding=1)
    if CORRUPTIONS[kind] == "noisy":
        return (x + 0.3 * normal(ids, 64, 0, "digits:corrupted: noise").view_as(x)).clamp(0, 1)
    return x
