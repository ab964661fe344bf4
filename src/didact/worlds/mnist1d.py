"""MNIST-1D: short series in the shape of ten digits, on which a linear model does badly and a convolution well.

Axis letters: N series, K templates, P points of a template, L points of a padded one.
"""

import functools

import torch
from torch import Tensor

from didact import hashing
from didact.preprocessing import SeriesPreprocessing
from didact.types import Examples
from didact.worlds._chance import normal, uniform

_EACH, _POINTS, _LENGTH = 500, 12, 40
_PADDING = (36, 60)
_SHIFTS = 48
_SCALE, _NOISE, _BACKGROUND, _SHEAR = 0.4, 0.02, 0.25, 0.75
_RADIUS, _SMOOTH = 8, 2.0
"""Of the Gaussian filter: its reach, four standard deviations as in SciPy, and its standard deviation."""
_LONGEST = _POINTS + _PADDING[1]
# The height of each digit's stroke at twelve times, from the authors' repository.
_TEMPLATES = (
    (5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5),
    (5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5),
    (5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5),
    (5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5),
    (5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5),
    (5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5),
    (5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5),
    (5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5),
)


@functools.cache
def mnist1d() -> Examples:
    """Classify series of 40 steps in the shape of ten digits, which are shifted, scaled, sheared and noisy.

    Real: nothing; the ten shapes are drawn by hand (Greydanus and Kobak 2024, "Scaling down deep learning with
    MNIST-1D", Apache-2.0).

    Simulated: 5,000 series, 500 of each digit, by the paper's steps and settings: the shape is padded to a random
    length, stretched, scaled, shifted, set on correlated noise, given independent noise, sheared and sampled at 40
    steps. The random numbers are our own, so that the series are others than the authors'.

    Known: the accuracies that the paper reports on its series: logistic regression 32%, a multilayer perceptron 68%, a
    convolutional net 94%, people 96%.

    Returns:
        `x` float32 [5000, 1, 40], of mean 0 and standard deviation 1 over all, `label` int64 [5000], `id` int64 [5000].
    """
    numbers = torch.arange(10 * _EACH)
    chance = uniform(numbers, 4, 0, "mnist1d")
    label = numbers // _EACH
    noise = normal(numbers, 2 * _LONGEST, 0, "mnist1d: noise").double().unflatten(1, (2, _LONGEST))
    x = series(label, chance, noise)
    x = ((x - x.mean()) / x.std(correction=0)).float()[:, None]
    return Examples(
        tensors={"x": x, "label": label, "id": hashing.keyed_hash(numbers, 0, "mnist1d")},
        task="classification",
        modality="series",
        classes=tuple(map(str, range(10))),
        preprocessing=SeriesPreprocessing(length=_LENGTH, means=(0.0,), stds=(1.0,), standardise="none"),
        name="mnist1d",
    )


def series(label: Tensor, chance: Tensor, noise: Tensor) -> Tensor:
    """The series of random numbers, before they are standardised.

    Args:
        label: the digits, int64 [N].
        chance: float64 [N, 4] in [0, 1): for the padding, the scale, the shift and the shear.
        noise: float64 [N, 2, 72], standard normal: the correlated and the independent noise.

    Returns:
        float64 [N, 40].
    """
    low, high = _PADDING
    padding = (chance[:, 0] * (high - low + 1)).long()
    x = _stretched()[padding, label] * (1 + _SCALE * (chance[:, 1, None] - 0.5))
    shift = (chance[:, 2, None] * _SHIFTS).long()
    x = x.gather(1, (torch.arange(_LONGEST) - shift) % _LONGEST)
    x = torch.where(x != 0, x, _BACKGROUND * noise[:, 0] @ _smoothing().T) + _NOISE * noise[:, 1]
    slope = _SHEAR * (chance[:, 3, None] - 0.5)
    x = x - slope * torch.linspace(-0.5, 0.5, _LONGEST, dtype=torch.float64)
    return x @ _resampling(_LONGEST, _LENGTH).T


@functools.cache
def _stretched() -> Tensor:
    """The templates under each padding, stretched to one length; float64 [paddings, K, 72]."""
    x = torch.tensor(_TEMPLATES, dtype=torch.float64)
    x = x - x.mean(1, keepdim=True)
    x = x / x.std(1, keepdim=True, correction=0)
    # The authors' 1e-8 keeps the zeros of a shape from being taken for the padding.
    x = (x - x[:, :1]) / 6 + 1e-8
    low, high = _PADDING
    padded = (torch.nn.functional.pad(x, (0, count)) for count in range(low, high + 1))
    return torch.stack([one @ _resampling(one.shape[1], _LONGEST).T for one in padded])


def _resampling(before: int, after: int) -> Tensor:
    """Linear interpolation from one number of equal steps to another; float64 [after, before]."""
    place = torch.linspace(0, before - 1, after, dtype=torch.float64)
    left = place.floor().clamp(max=before - 2).long()[:, None]
    share = place[:, None] - left
    return torch.zeros(after, before, dtype=torch.float64).scatter_(1, left, 1 - share).scatter_(1, left + 1, share)


@functools.cache
def _smoothing() -> Tensor:
    """A Gaussian filter that reflects at the ends; float64 [72, 72]."""
    reach = torch.arange(-_RADIUS, _RADIUS + 1)
    weight = (-reach.double().square() / (2 * _SMOOTH**2)).exp()
    place = (torch.arange(_LONGEST)[:, None] + reach) % (2 * _LONGEST)
    place = torch.where(place < _LONGEST, place, 2 * _LONGEST - 1 - place)
    zeros = torch.zeros(_LONGEST, _LONGEST, dtype=torch.float64)
    return zeros.scatter_add_(1, place, (weight / weight.sum()).expand(_LONGEST, -1))
