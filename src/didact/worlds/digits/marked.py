"""Real digits with the marks of those who wrote them, which are a hint in training alone."""

import dataclasses
import functools

import torch

from didact.types import Examples
from didact.worlds._chance import uniform
from didact.worlds.digits.plain import digits

WRITERS = 10
OWN = 0.9
"""How often, in training, the writer is the one with the digit's number; else anyone."""
_VALIDATION, _TEST = 0.1, 0.3


@functools.cache
def marked() -> Examples:
    """Classify digits whose writers leave a mark, where each wrote mostly one digit in training.

    Real: the images and their labels; see `digits`.

    Simulated: the writers. There are ten, each with a mark: one pixel on the left or right border, in one of the upper
    five rows, is full of ink. In training, nine tenths of the images are by the writer with the number of the digit,
    the others by anyone; in validation and test, all are by anyone. Splits are fixed.

    Known: the mark tells the digit for 91% of the training images, and nothing about it in the test.

    Returns:
        `x` float32 [1797, 1, 8, 8] in [0, 1], `label` int64 [1797], `id` int64 [1797], that of `digits`; `writer` (0
        to 9) and `split` (see `didact.sources.split`), all int64 [1797].

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    plain = digits()
    ids, label = plain.tensors["id"], plain.tensors["label"]
    chance = uniform(ids, 3, 0, "digits:marked")
    split = torch.where(chance[:, 0] < _TEST, 2, (chance[:, 0] < _TEST + _VALIDATION).long())
    own = (chance[:, 1] < OWN) & (split == 0)
    writer = torch.where(own, label, (chance[:, 2] * WRITERS).long())
    x = plain.tensors["x"].clone()
    x[torch.arange(len(x)), 0, writer // 2, (writer % 2) * 7] = 1.0
    tensors = {"x": x, "label": label, "id": ids, "writer": writer, "split": split}
    return dataclasses.replace(plain, tensors=tensors, name="digits:marked")
