"""Mixtures of Gaussians, for which the best possible classifier is known.

Axis letters: N examples, C classes, M modes of a class, D columns.
"""

import functools
import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from didact import hashing
from didact.errors import ConfigError, nearest
from didact.preprocessing import plain_table
from didact.types import Examples
from didact.worlds._chance import normal, uniform

SAMPLED = 2**17
"""The number of examples for estimates of accuracies without a closed form."""


_FAMILIES, _MEMBERS = 8, 5


@dataclass(frozen=True, eq=False, kw_only=True)
class GaussianMixture:
    """Classes that are mixtures of Gaussians with one common spherical covariance.

    A class c is drawn with its prior, one of its M modes with equal chance, and x from the normal distribution about
    that mode with the covariance `scale`² I. By Bayes' theorem p(c | x) is proportional to
    prior_c Σ_m exp(-|x - mode_cm|² / 2 scale²).
    """

    modes: Tensor
    """float32 [C, M, D]."""
    priors: Tensor
    """float32 [C], adding up to 1."""
    scale: float = 1.0
    """The standard deviation of every column about a mode, above 0."""

    @property
    def classes(self) -> int:
        """C."""
        return self.modes.shape[0]

    def to(self, device: torch.device | str) -> "GaussianMixture":
        """The same mixture on another device."""
        return GaussianMixture(modes=self.modes.to(device), priors=self.priors.to(device), scale=self.scale)

    def sample(self, count: int, *, seed: int) -> tuple[Tensor, Tensor]:
        """Draw examples; the first ones of a larger sample are those of a smaller one.

        Args:
            count: the number of examples, N.
            seed: any integer.

        Returns:
            x float32 [N, D] and the classes int64 [N].
        """
        numbers = torch.arange(count)
        chance = uniform(numbers, 2, seed, "mixture: class")
        label = torch.searchsorted(self.priors.double().cumsum(0), chance[:, 0].contiguous(), right=True)
        label = label.clamp_(max=self.classes - 1)
        mode = (chance[:, 1] * self.modes.shape[1]).long()
        noise = normal(numbers, self.modes.shape[2], seed, "mixture: x")
        return self.modes[label, mode] + self.scale * noise, label

    def log_posterior(self, x: Tensor) -> Tensor:
        """The logarithm of the probability of each class.

        Args:
            x: float32 [N, D], on the device of `modes`.

        Returns:
            float32 [N, C]; the best possible classifier takes the largest, and its softmax is perfectly calibrated.
        """
        # |x|² is the same for every mode, so that it cancels.
        flat = self.modes.flatten(0, 1)
        near_NCM = ((x @ flat.T - flat.square().sum(1) / 2) / self.scale**2).unflatten(1, self.modes.shape[:2])
        return (near_NCM.logsumexp(2) + self.priors.log()).log_softmax(1)

    def bayes_accuracy(self) -> float:
        """The accuracy of the best possible classifier.

        Two classes of one mode each have a closed form: with δ the distance of the modes over `scale` and
        r = ln(prior_0 / prior_1), it is prior_0 Φ(δ/2 + r/δ) + prior_1 Φ(δ/2 - r/δ); for equal priors Φ(δ/2) (Fukunaga
        1990, "Introduction to statistical pattern recognition", chapter 3). Otherwise the largest posterior is averaged
        over a fixed sample of 131,072; its standard error is at most 0.0014, as the values lie between 0 and 1, and
        0.0006 or less for the worlds here.
        """
        if self.modes.shape[:2] == (2, 1):
            return self._of_a_pair()
        return float(self.log_posterior(self.sample(SAMPLED, seed=1)[0]).amax(1).exp().double().mean())

    def _of_a_pair(self) -> float:
        distance = float((self.modes[0, 0] - self.modes[1, 0]).double().norm()) / self.scale
        first, second = self.priors.double().tolist()
        shift = math.log(first / second) / distance
        return first * _phi(distance / 2 + shift) + second * _phi(distance / 2 - shift)

    @classmethod
    def random_modes(cls, classes: int, modes: int, columns: int, *, priors: Tensor, spread: float) -> Self:
        """Modes drawn from a normal distribution of standard deviation `spread`, always the same; `scale` is 1."""
        draws = normal(torch.arange(classes), modes * columns, 0, "mixture: modes")
        return cls(modes=spread * draws.view(classes, modes, columns), priors=priors)

    def examples(self, count: int, name: str) -> Examples:
        """A fixed sample as a table, its ids from the contents."""
        x, label = self.sample(count, seed=0)
        return Examples(
            tensors={"x": x, "label": label, "id": hashing.of_rows(x)},
            task="classification",
            modality="table",
            classes=tuple(f"class {number}" for number in range(self.classes)),
            preprocessing=plain_table(f"x{number}" for number in range(x.shape[1])),
            name=name,
        )


def _phi(z: float) -> float:
    """The standard normal distribution function."""
    return math.erfc(-z / math.sqrt(2)) / 2


@functools.cache
def _pair() -> GaussianMixture:
    modes = torch.full((2, 1, 10), 1 / math.sqrt(10))
    return GaussianMixture(modes=modes * torch.tensor([-1.0, 1.0])[:, None, None], priors=torch.full((2,), 0.5))


@functools.cache
def _mixture() -> GaussianMixture:
    return GaussianMixture.random_modes(4, 3, 8, priors=torch.full((4,), 0.25), spread=1.0)


@functools.cache
def _zipf() -> GaussianMixture:
    weight = 1 / torch.arange(1, 21)
    return GaussianMixture.random_modes(20, 1, 10, priors=weight / weight.sum(), spread=1.0)


@functools.cache
def _families() -> GaussianMixture:
    centres = 1.5 * normal(torch.arange(_FAMILIES), 12, 0, "families: centres")
    members = 0.7 * normal(torch.arange(_FAMILIES * _MEMBERS), 12, 0, "families: members")
    modes = centres.repeat_interleave(_MEMBERS, 0) + members
    return GaussianMixture(modes=modes[:, None], priors=torch.full((len(modes),), 1 / len(modes)))


MIXTURES = {
    "gaussian:pair": _pair,
    "gaussian:mixture": _mixture,
    "gaussian:zipf": _zipf,
    "gaussian:families": _families,
}
"""The functions that build the mixtures of the worlds in this file."""


@functools.cache
def pair() -> Examples:
    """Tell two Gaussians in ten dimensions apart, where the best possible accuracy is Φ(1) = 84.1%.

    Real: nothing.

    Simulated: 2,000 examples of two classes with equal priors and the same spherical covariance; the means are two
    standard deviations apart, all columns alike.

    Known: everything. The best classifier is linear, by the sign of the columns' sum, and right with probability
    Φ(1) = 0.8413. `distribution("gaussian:pair").log_posterior` gives the probabilities.

    Returns:
        `x` float32 [2000, 10], `label` int64 [2000], `id` int64 [2000] from the contents.
    """
    return _pair().examples(2000, "gaussian:pair")


@functools.cache
def mixture() -> Examples:
    """Tell four classes of three clusters each apart; no straight line does, and the best possible is known.

    Real: nothing.

    Simulated: 3,000 examples of four classes with equal priors, each a mixture of three Gaussians in eight dimensions.

    Known: everything. `bayes_accuracy` gives the best possible accuracy, about 87.3%; logistic regression reaches about
    70%, boosted trees 83%. `distribution("gaussian:mixture").log_posterior` gives the probabilities.

    Returns:
        `x` float32 [3000, 8], `label` int64 [3000], `id` int64 [3000] from the contents.
    """
    return _mixture().examples(3000, "gaussian:mixture")


@functools.cache
def zipf() -> Examples:
    """Tell twenty classes apart whose frequencies follow Zipf's law, from a third of all to one in seventy.

    Real: nothing.

    Simulated: 4,000 examples; the class of rank r has the prior (1/r) / (1 + 1/2 + ... + 1/20), and each is a Gaussian
    in ten dimensions.

    Known: everything. `bayes_accuracy` gives the best possible accuracy, about 85.3%; always answering the first class
    is right in 28% of cases. `distribution("gaussian:zipf").log_posterior` gives the probabilities; without the priors'
    logarithms, they are those of the classifier that is best where all classes count the same.

    Returns:
        `x` float32 [4000, 10], `label` int64 [4000], `id` int64 [4000] from the contents.
    """
    return _zipf().examples(4000, "gaussian:zipf")


@functools.cache
def families() -> Examples:
    """Tell forty classes apart that come in eight families, so that some mistakes are much likelier than others.

    Real: nothing.

    Simulated: 6,000 examples of 40 classes with equal priors, each a Gaussian in twelve dimensions. Class c belongs to
    family c // 5; the means of a family lie near each other, and the families far apart.

    Known: everything. `bayes_accuracy` gives the best possible accuracy, about 83.8%; the best classifier takes the
    right family in 98% of cases. Logistic regression reaches 72% with 600 labels, which is fifteen for each class, and
    82% with 4,800. `distribution("gaussian:families").log_posterior` gives the probabilities, with an entropy of 0.45
    nats.

    Returns:
        `x` float32 [6000, 12], `label` int64 [6000], `id` int64 [6000] from the contents.
    """
    return _families().examples(6000, "gaussian:families")


def distribution(name: str) -> GaussianMixture:
    """The distribution behind a world that was drawn from one.

    Args:
        name: of a world of this file, such as `gaussian:pair`.

    Raises:
        ConfigError: another name.
    """
    if name not in MIXTURES:
        raise ConfigError(f"world is {name!r}, whose distribution is not known. {nearest(name, MIXTURES)}")
    return MIXTURES[name]()


def bayes_accuracy(name: str) -> float:
    """The accuracy of the best possible classifier on a world; see `GaussianMixture.bayes_accuracy`.

    Args:
        name: see `distribution`.

    Returns:
        In [0, 1]; for unseen examples of the distribution, not for the sample that the world is.

    Raises:
        ConfigError: another name.
    """
    return distribution(name).bayes_accuracy()
