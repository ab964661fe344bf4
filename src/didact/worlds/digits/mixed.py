"""Real digits from several domains, in which classes have other shares."""

import dataclasses
import functools

import torch
from torch import Tensor

from didact.types import Examples
from didact.worlds._chance import uniform
from didact.worlds.digits.plain import digits

CLASSES, DOMAINS = 5, 8
_UNEVEN, _SEED = 4, 19
"""Shares are proportional to this power of uniform numbers, which are drawn with this seed."""


@functools.cache
def mixes() -> Examples:
    """Classify pairs of digits that look unlike each other, from domains in which the classes have other shares.

    Real: the images; see `digits`.

    Simulated: the classes and the domains. A class is a digit below five together with the one that is greater by five.
    Each image is of one of eight domains, drawn from the distribution of its class, whatever its digit is.

    Known: the distributions, `shares`, a matrix with a condition number of 2.6 (the paper of `latent_label_shift`
    takes those below 4). Domains differ in nothing but the shares of the classes. The likeliest class of its domain is
    that of an image in 64% of cases.

    Returns:
        `x` float32 [1797, 1, 8, 8] in [0, 1], `label` in 0 to 4, `domain` in 0 to 7, `digit` and `id`, that of
        `digits`, all int64 [1797].

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    plain = digits()
    digit, ids = plain.tensors["label"], plain.tensors["id"]
    label = digit % CLASSES
    chance = uniform(ids, 1, 0, "digits:mixes: domain")
    domain = torch.searchsorted(shares().cumsum(1)[label], chance, right=True)[:, 0].clamp_(max=DOMAINS - 1)
    return dataclasses.replace(
        plain,
        tensors={"x": plain.tensors["x"], "label": label, "domain": domain, "digit": digit, "id": ids},
        classes=tuple(f"{number} or {number + CLASSES}" for number in range(CLASSES)),
        name="digits:mixes",
    )


@functools.cache
def shares() -> Tensor:
    """The shares of the domains in each class; float64 [5, 8], rows adding up to 1."""
    drawn = uniform(torch.arange(CLASSES), DOMAINS, _SEED, "digits:mixes: shares") ** _UNEVEN
    return drawn / drawn.sum(1, keepdim=True)
