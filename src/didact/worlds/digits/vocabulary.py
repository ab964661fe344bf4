"""Real digits without labels, and a scorer of a hundred words that suit them more or less."""

import dataclasses
import functools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from didact.types import Examples
from didact.worlds._chance import normal
from didact.worlds.digits.plain import digits

WORDS = 100
_DIGITS = 10
_OWN, _OTHER = 0.05, 0.1
"""How far a word is from the mean of its digit, in each pixel: that for the digit itself, and the others."""
_SCALE = 100.0
"""Of cosines, as in CLIP."""


@functools.cache
def vocabulary() -> Examples:
    """Find the right words for images of digits in a vocabulary of a hundred words, without any labelled image.

    Real: the images and their labels; see `digits`.

    Simulated: the words, with a direction each in the space of images: the mean of a digit's images plus normal noise,
    of standard deviation 0.05 in each pixel for the right word of the digit, and 0.1 for nine others. `scorer` compares
    images with words by the cosine, as CLIP does, after the mean image is taken away.

    Known: the scorer takes the right word for 43% of the images, and a word of the right digit for 89%. Of the words
    that it takes for the images of a digit, the right one is the most frequent.

    Returns:
        `x` float32 [1797, 1, 8, 8] in [0, 1], `label` int64 [1797] in 0 to 9, of 100 classes, `id` int64 [1797], that
        of `digits`.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    names = tuple(str(word) if word < _DIGITS else f"like {word % _DIGITS}, {word // _DIGITS}" for word in range(WORDS))
    return dataclasses.replace(digits(), classes=names, name="digits:vocabulary")


class Scorer(nn.Module):
    """Cosines of images and words, times 100.

    Args:
        mean: float [D], the mean image.
        words: float [V, D], their directions.
    """

    mean: Tensor
    words: Tensor

    def __init__(self, mean: Tensor, words: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("words", F.normalize(words, dim=1))

    def forward(self, x: Tensor) -> Tensor:
        """Images [B, 1, 8, 8] to scores [B, V], for a softmax."""
        return _SCALE * F.normalize(x.flatten(1) - self.mean, dim=1) @ self.words.T


def scorer() -> Scorer:
    """The scorer of `digits:vocabulary`, as a teacher: `didact.worlds.digits.vocabulary:scorer`."""
    plain = digits().tensors
    x, label = plain["x"].flatten(1), plain["label"]
    means = torch.stack([x[label == digit].mean(0) for digit in range(_DIGITS)]) - x.mean(0)
    far = torch.full((WORDS, 1), _OTHER)
    far[:_DIGITS] = _OWN
    words = means[torch.arange(WORDS) % _DIGITS] + far * normal(torch.arange(WORDS), 64, 0, "digits:vocabulary")
    return Scorer(x.mean(0), words)
