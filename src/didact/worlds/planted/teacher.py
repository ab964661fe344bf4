"""A simulated teacher of known quality, bias and coverage."""

import functools
import math
from typing import Self

import torch
from torch import Tensor

from didact.errors import ConfigError, TeacherError, check_range
from didact.types import Batch, Ledger, Logits
from didact.worlds._chance import normal, uniform
from didact.worlds.gaussian import GaussianMixture

_REFERENCE = 2**16
_HALVINGS = 18
_MARGIN = 0.01


class PlantedTeacher:
    """A teacher that knows the true probabilities, and errs at a given rate.

    Its logits are the true log-probabilities of a mixture, plus `preference` for the class `favourite`, plus normal
    noise that depends on the example's id and the seed alone. The noise is scaled such that its predictions, the
    largest logits, are right with the probability `accuracy`: found by bisection on a fixed sample of 65,536, to within
    0.004. It abstains (`trust` 0) on a random share of 1 - `coverage` of the examples; its logits for them are no
    worse.

    Real: nothing.

    Simulated: the teacher; it stands for a weak model, a biased rater, or a heuristic that does not always apply.

    Known: its accuracy, the scale of its noise, and the share of its predictions that are the favourite class.

    Args:
        mixture: the distribution of the examples, such as `distribution("gaussian:mixture")`.
        accuracy: probability of being right, at least 0.01 above 1 / C; None adds no noise.
        preference: added to the favourite's logit, in nats; negative for a class that it avoids.
        favourite: number of a class.
        coverage: probability of not abstaining, in [0, 1].
        seed: different seeds err on different examples.

    Raises:
        ConfigError: a value out of range, or an accuracy that is impossible with this preference.
    """

    frozen = True
    """It always gives the same signal for the same example."""
    charges = frozenset({"teacher_calls"})

    def __init__(
        self,
        mixture: GaussianMixture,
        *,
        accuracy: float | None = None,
        preference: float = 0.0,
        favourite: int = 0,
        coverage: float = 1.0,
        seed: int = 0,
    ) -> None:
        check_range("preference", preference, above=-math.inf, below=math.inf)
        check_range("favourite", favourite, at_least=0, below=mixture.classes)
        check_range("coverage", coverage, at_least=0.0, at_most=1.0)
        self.mixture, self.preference, self.favourite = mixture, preference, favourite
        self.coverage, self.seed = coverage, seed
        self.ledger, self.by = Ledger(), "teacher"
        posterior, errors = _reference(mixture)
        self.noise = 0.0 if accuracy is None else self._calibrated(accuracy, posterior, errors)
        """Standard deviation of the noise on each logit, in nats."""
        answers = self._logits(posterior, errors, self.noise).argmax(1)
        self.accuracy: float = _accuracy(posterior, answers)
        """Probability that its prediction is the true class."""
        self.favourite_share = float((answers == favourite).double().mean())
        """Probability that its prediction is the favourite class."""

    def signal(self, batch: Batch) -> Logits:
        """Compute logits float32 [B, C] from `x` and `id`, and trust 0 or 1 if coverage is below 1."""
        ids = batch["id"]
        errors = normal(ids, self.mixture.classes, self.seed, "planted teacher: noise")
        logits = self._logits(self.mixture.log_posterior(batch["x"]), errors, self.noise)
        self.ledger.charge("teacher_calls", batch.size, self.by)
        if self.coverage == 1.0:
            return Logits(logits=logits)
        answered = uniform(ids, 1, self.seed, "planted teacher: coverage")[:, 0] < self.coverage
        return Logits(logits=logits, trust=answered.float())

    def tap(self, *names: str) -> None:
        """Refuse: it has no features.

        Raises:
            TeacherError: always.
        """
        raise TeacherError(
            f"Features {', '.join(map(repr, names)) or '(none named)'} were requested from a planted teacher, which "
            "has only logits; a frozen module has features."
        )

    def to(self, device: torch.device | str) -> Self:
        """Move the mixture to the device of the batches."""
        self.mixture = self.mixture.to(device)
        return self

    def _logits(self, log_posterior: Tensor, errors: Tensor, noise: float) -> Tensor:
        logits = log_posterior + noise * errors
        logits[:, self.favourite] += self.preference
        return logits

    def _calibrated(self, accuracy: float, posterior: Tensor, errors: Tensor) -> float:
        def reached(noise: float) -> float:
            return _accuracy(posterior, self._logits(posterior, errors, noise).argmax(1))

        lowest, highest = 1 / self.mixture.classes + _MARGIN, reached(0.0)
        if not lowest <= accuracy <= highest:
            raise ConfigError(
                f"accuracy is {accuracy!r}, but with a preference of {self.preference:g} for class {self.favourite} it "
                f"can be from {lowest:.3f} to {highest:.3f}; ask for that, or for less preference."
            )
        low, high = 0.0, 1.0
        while reached(high) > accuracy:
            low, high = high, 2 * high
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if reached(middle) > accuracy else (low, middle)
        return high


@functools.lru_cache(maxsize=4)
def _reference(mixture: GaussianMixture) -> tuple[Tensor, Tensor]:
    """True log-probabilities and noise of the examples for scaling the noise; [N, C] each, on the CPU."""
    mixture = mixture.to("cpu")
    x, _ = mixture.sample(_REFERENCE, seed=2)
    errors = normal(torch.arange(_REFERENCE), mixture.classes, 0, "planted teacher: calibration")
    return mixture.log_posterior(x), errors


def _accuracy(log_posterior: Tensor, answers: Tensor) -> float:
    """The accuracy: the mean of the predictions' true probabilities, which has less variance than drawn classes."""
    return float(log_posterior.gather(1, answers[:, None]).exp().double().mean())
