"""Subliminal Learning: Language Models Transmit Behavioral Traits via Hidden Signals in Data (Cloud et al. 2025).

The study's demonstration with digits. A net has a few auxiliary outputs without a meaning, which no metric reads. A
teacher with the student's initial weights learns digits, with no loss on its auxiliary outputs. Then the student learns
to match the teacher's auxiliary outputs alone, on noise; it sees neither a digit nor a label. Nevertheless it
classifies digits afterwards, but not if its initial weights differed from the teacher's.

Departures: teacher and student share one budget, and one optimizer with its schedule; noise is uniform in the range of
pixels, [0, 1]; the digits are those of scikit-learn. The study of language models is not covered.

Compared with scripts/run_mnist_experiment.py of MinhxLe/subliminal-learning: both losses, three auxiliary outputs and
the range of the noise agree; it draws the noise once, as many images as MNIST has, and trains each net for 5 epochs
with an Adam of its own. Values and gradients:
`tests/methods/test_subliminal.py::test_both_losses_and_their_gradients_are_those_of_the_authors`.

On `digits`, it is undecided against a tuned "other initialisation" (+57.8 points, +49.8 to +65.8), and undecided
against "random teacher" (+57.5, +49.5 to +65.6); other initialisation is untrained: it is no better than untaught.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from didact.claiming import Claim
from didact.errors import ConfigError, check_choice, check_range
from didact.losses.labels.supervised import label_loss
from didact.losses.labels.targets import distillation_loss
from didact.types import Batch, Logits, Method, Terms, is_labelled


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `subliminal`."""

    start: Literal["same", "other"] = "same"  # whether teacher and student have the same initial weights
    outputs: int = 3  # number of auxiliary outputs, which train the student
    taught_share: float = 0.3  # first share of the budget, which trains the teacher on the labels; 0 for a random one

    def __post_init__(self) -> None:
        check_choice("start", self.start, ("same", "other"))
        check_range("outputs", self.outputs, at_least=2)
        check_range("taught_share", self.taught_share, at_least=0.0, below=1.0)


class Subliminal(Method):
    """Distil auxiliary outputs without a meaning, on noise.

    Args:
        config: the options.
        learner: the student, whose last layer is linear.
        spawn: makes a net of the student's kind with other initial weights.
        sample: a few examples, to find the width of the representation.
        seed: of the auxiliary outputs' weights.

    Raises:
        ConfigError: the inputs are text, or the student has no linear head with one vector for each example.
    """

    def __init__(
        self, config: Config, learner: nn.Module, spawn: Callable[[str], nn.Module], sample: Batch, seed: int = 0
    ) -> None:
        self.config, self.learner = config, learner
        if "x" not in sample:
            raise ConfigError("The data are text, but subliminal replaces numeric inputs by noise; give images.")
        hidden = learner(sample).hidden
        if hidden is None or hidden.ndim != 2:
            raise ConfigError(
                "The student has no linear head with one vector [D] for each example before it, which subliminal "
                "needs; take one whose last layer is linear, such as mlp:64,64 or cnn:16,32."
            )
        same = config.start == "same"
        self.further = _outputs(hidden.shape[-1], config.outputs, seed)
        self.teacher = copy.deepcopy(learner) if same else spawn("")
        self.its_further = _outputs(hidden.shape[-1], config.outputs, seed if same else seed + 1)

    @property
    def teacher_learns(self) -> bool:
        """Whether the teacher is still in training."""
        return self.fraction < self.config.taught_share

    def loss(self, batch: Batch) -> Terms:
        """First `label`, for the teacher; then `further`, for the student, on noise."""
        if self.teacher_learns:
            return Terms(label=label_loss(self.teacher(batch).logits, batch["label"], weight=batch.label_weight))
        noise = Batch({**batch, "x": torch.rand_like(batch["x"])})
        with torch.no_grad():
            theirs = self.its_further(self.teacher(noise).hidden)
        return Terms(further=distillation_loss(self.further(self.learner(noise).hidden), Logits(logits=theirs)))

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """The labelled examples for the teacher, all for the student."""
        return {"label": is_labelled(batch["label"]).sum(), "further": batch.size}


def _outputs(width: int, outputs: int, seed: int) -> nn.Linear:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Linear(width, outputs)


CLAIM = Claim(
    statement="A student that is taught outputs without meaning, on noise, by a teacher that has learned digits can "
    "classify digits if both had the same initial weights, and cannot otherwise.",
    arms={
        "subliminal": {"method": "subliminal", "outputs": 10},
        "other initialisation": {"method": "subliminal", "outputs": 10, "start": "other"},
        "random teacher": {"method": "subliminal", "outputs": 10, "start": "other", "taught_share": 0.0},
        "untaught": {"method": "supervised", "lr": 1e-9},
    },
    method="subliminal",
    baseline="other initialisation",
    cheap="random teacher",
    ablation="other initialisation",
    untaught="untaught",
    smallest_effect=0.05,
    settings={"student": "mlp:256,256", "test": 0.4, "steps": 1000, "lr": 0.001, "schedule": "constant"},
    search={"subliminal": {"lr": (0.0003, 0.001)}, "other initialisation": {"lr": (0.0003, 0.001)}},
    equal="steps",
    tuned_on=(0, 1, 2),
    seeds=(400, 401, 402, 403, 404, 405, 406, 407, 408, 409),
    shows="What a teacher transmits to a student by outputs and inputs that are unrelated to the task.",
    omits="Language models, whose traits pass by numbers, code and reasoning that seem to have no part in them.",
    systems=("subliminal-learning",),
)
