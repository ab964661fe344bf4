"""Altered real digits: planted defects, noise for the student alone, other styles."""

import dataclasses
import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from didact import hashing
from didact.types import Examples
from didact.worlds._chance import uniform
from didact.worlds.digits.plain import digits

DEFECTS = ("none", "spot", "gap", "streak")
"""The names of the numbers in `defect`."""
_SPOT, _GAP = 2, 3
_STREAK_INK = 0.5
_DEFECTIVE = 0.3
_CLUTTER = 0.9
_RADIUS = 0.15


@functools.cache
def defects() -> Examples:
    """Detect and localise defects in images of digits.

    Real: the images; see `digits`.

    Simulated: the defects, one each on about 30% of the images, of three kinds with the same chance. `spot`: a square
    of 2 by 2 pixels, one with little ink, is filled. `gap`: a square of 3 by 3 pixels, one with much ink, is erased.
    `streak`: a whole row gets at least half the ink. Which images, and where, depends on their ids alone.

    Known: the kind and the changed pixels. No pixel outside `defect_mask` differs from `digits`, whose rows these are;
    all those in it do. Methods that learn from normal images alone can be evaluated by the labels and the masks.

    Returns:
        `x` float32 [1797, 1, 8, 8] in [0, 1], `label` int64 [1797] (1 is a defect), `id` int64 [1797], that of
        `digits`, `digit` int64 [1797], `defect` int64 [1797] (see `DEFECTS`), `defect_mask` bool [1797, 1, 8, 8].

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    plain = digits()
    clean, ids = plain.tensors["x"], plain.tensors["id"]
    chance = uniform(ids, 2, 0, "digits_defects: kind")
    kind = torch.where(chance[:, 0] < _DEFECTIVE, 1 + (chance[:, 1] * 3).long(), 0)
    places = uniform(ids, 64, 0, "digits_defects: place").float().view_as(clean)
    x = _with_defects(clean, kind, places)
    return dataclasses.replace(
        plain,
        tensors={
            "x": x,
            "label": (kind > 0).long(),
            "id": ids,
            "digit": plain.tensors["label"],
            "defect": kind,
            "defect_mask": x != clean,
        },
        classes=("normal", "defect"),
        name="digits:defects",
    )


def _with_defects(clean: Tensor, kind: Tensor, places: Tensor) -> Tensor:
    """Add defects of given kinds to images; `places` [N, 1, 8, 8] in [0, 1) breaks ties between places."""
    rows = places[:, :, :, :1]
    squares = (
        _square(_ink(clean, _SPOT) + _windows(places, _SPOT), _SPOT),
        _square(-_ink(clean, _GAP) - _windows(places, _GAP), _GAP),
        (rows == rows.amin(2, keepdim=True)).expand_as(clean),
    )
    changed = (clean.masked_fill(squares[0], 1), clean.masked_fill(squares[1], 0), clean.clamp(min=_STREAK_INK))
    x = clean
    for number, (where, with_it) in enumerate(zip(squares, changed, strict=True), 1):
        x = torch.where(where & (kind == number)[:, None, None, None], with_it, x)
    return x


def _ink(x: Tensor, side: int) -> Tensor:
    """The sum over each square of `side`, by its upper left corner; [N, 1, 9 - side, 9 - side]."""
    return F.avg_pool2d(x, side, stride=1) * side**2


def _windows(places: Tensor, side: int) -> Tensor:
    return places[..., : 9 - side, : 9 - side]


def _square(cost: Tensor, side: int) -> Tensor:
    """The pixels of the cheapest square; bool [N, 1, 8, 8]."""
    corner = torch.zeros_like(cost).flatten(1).scatter_(1, cost.flatten(1).argmin(1, keepdim=True), 1.0)
    return F.max_pool2d(F.pad(corner.view_as(cost), [side - 1] * 4), side, stride=1) > 0


@functools.cache
def privileged() -> Examples:
    """Classify digits over a noisy background, with a teacher that sees them without it.

    Real: the clean images and their labels; see `digits`.

    Simulated: the background. Each pixel of `x` is the clean one or a number drawn uniformly between 0 and 0.9,
    whichever is darker. The clean image is the view `privileged`, for teachers alone: `batch.view("privileged")`, or a
    `FrozenTeacher` with that view.

    Known: the view has all information of `x` about the label, and more, since the background is independent of both.
    Logistic regression on all labels reaches about 84% on `x` and 96% on the view.

    Returns:
        `x` float32 [1797, 1, 8, 8] in [0, 1], `privileged.x` alike, `label` int64 [1797], `id` int64 [1797], that of
        `digits`.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    plain = digits()
    clean = plain.tensors["x"]
    background = uniform(plain.tensors["id"], 64, 0, "digits_privileged").float().view_as(clean) * _CLUTTER
    noisy = plain.with_tensors(**{"x": clean.maximum(background), "privileged.x": clean})
    return dataclasses.replace(noisy, name="digits:privileged")


@functools.cache
def attacked() -> Examples:
    """Classify digits that somebody may change a little, so that they are mistaken.

    Real: the images and their labels; see `digits`.

    Simulated: nothing. `radius` says how far an attacker may move each pixel, 0.15, so that a run also measures
    `robust_accuracy`: the accuracy on images that are moved so as to raise the student's own loss.

    Known: a net that learned from clean images alone, with an accuracy of about 95%, gets about a quarter of the
    attacked ones right.

    Returns:
        `x` float32 [1797, 1, 8, 8] in [0, 1], `radius` float32 [1797], `label` int64 [1797], `id` int64 [1797], that of
        `digits`.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    plain = digits()
    radius = torch.full((plain.size,), _RADIUS)
    return dataclasses.replace(plain.with_tensors(radius=radius), name="digits:attacked")


@dataclass(frozen=True, kw_only=True)
class Style:
    """A style: a geometric transformation, after which each pixel p becomes `offset + contrast * p`."""

    name: str
    degrees: float = 0.0
    """The rotation about the centre, clockwise."""
    shear: float = 0.0
    """The tangent of the angle by which upright lines lean to the right."""
    zoom: float = 1.0
    """Factor of size."""
    contrast: float = 1.0
    offset: float = 0.0


STYLES = (
    Style(name="plain"),
    Style(name="inverted", contrast=-1.0, offset=1.0),
    Style(name="faint", contrast=0.3, offset=0.35),
    Style(name="turned", degrees=30.0),
    Style(name="leaning", shear=0.5),
    Style(name="small", zoom=0.7),
)
"""The styles of `digits:styles`, by their number in `style`."""


@functools.cache
def styles() -> Examples:
    """Classify digits in six styles, for training in some and tests in others.

    Real: the images and their labels; see `digits`.

    Simulated: the styles, the same for every image: plain; inverted; faint (pixels from 0.35 to 0.65); turned by 30
    degrees clockwise; leaning to the right with a slope of one half; shrunk to 70%. What is moved is sampled
    bilinearly, with 0 outside. Each image is there in every style; its `group` is the same in all, so that splits keep
    them together, while its `id` is not.

    Known: inverted and faint lose no information: an affine map of x undoes them. A linear model that was trained on
    plain digits recognises few inverted ones.

    Returns:
        `x` float32 [10782, 1, 8, 8] in [0, 1], style by style; `label`, `style` (see `STYLES`), `group` (the image's id
        in `digits`) and `id`, all int64 [10782].

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    plain = digits()
    count, ids = len(STYLES), plain.tensors["id"]
    tensors = {
        "x": torch.cat([in_style(plain.tensors["x"], style) for style in STYLES]),
        "label": plain.tensors["label"].repeat(count),
        "id": torch.cat([hashing.keyed_hash(ids, number, "digits_styles") for number in range(count)]),
        "group": ids.repeat(count),
        "style": torch.arange(count).repeat_interleave(plain.size),
    }
    return dataclasses.replace(plain, tensors=tensors, name="digits:styles")


def in_style(x: Tensor, style: Style) -> Tensor:
    """Apply a style to images.

    Args:
        x: float [N, channels, side, side] in [0, 1].
        style: the style.

    Returns:
        As `x`.
    """
    if (style.degrees, style.shear, style.zoom) != (0.0, 0.0, 1.0):
        cos, sin = math.cos(math.radians(style.degrees)), math.sin(math.radians(style.degrees))
        # From a position in the result back to that in x, with y down: the inverse of shear after rotation after zoom.
        back = torch.tensor([[cos, cos * style.shear + sin, 0.0], [-sin, cos - sin * style.shear, 0.0]]) / style.zoom
        grid = F.affine_grid(back.to(x).expand(len(x), 2, 3), list(x.shape), align_corners=False)
        x = F.grid_sample(x, grid, align_corners=False)
    return style.offset + style.contrast * x


@functools.cache
def weak() -> Examples:
    """Classify digits of which a cheap label is known too, that is wrong for half of them in a known way.

    Real: the images and their labels; see `digits`.

    Simulated: the weak labels, as of a search for a digit that also finds the next one: that of an image is its digit
    with a chance of one half, and otherwise the digit below (9 for 0). It depends on the image's id alone.

    Known: given the weak label w alone, the digit is w or w + 1 (0 for 10), with about equal chances.

    Returns:
        `x` float32 [1797, 1, 8, 8] in [0, 1], `label` int64 [1797], `id` int64 [1797], that of `digits`, `weak` int64
        [1797] in [0, 10).

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    plain = digits()
    label, ids = plain.tensors["label"], plain.tensors["id"]
    wrong = (uniform(ids, 1, 0, "digits:weak")[:, 0] < 0.5).long()
    return dataclasses.replace(plain, tensors={**plain.tensors, "weak": (label - wrong) % 10}, name="digits:weak")
