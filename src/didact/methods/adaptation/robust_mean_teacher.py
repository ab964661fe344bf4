"""Robust Mean Teacher for Continual and Gradual Test-Time Adaptation (Döbler, Marsden & Yang 2023).

A trained net is adapted to rows of another domain, without labels. Student and average agree, on the row and on an
augmented view of it, by a cross-entropy that is symmetric, whose gradient neither explodes for uncertain predictions
nor vanishes for certain ones. A contrast in the space of a projection pulls the student's features of both to each
other, and to the nearest prototype of the domain of the labels.

Departures: the variant without source data alone, so that nothing is replayed and the average is not warmed up. Without
source features, a class's prototype is its row in the head of the trained net, as in T3A (Iwasawa & Matsuo 2021). Batch
normalisation goes by statistics averaged over the steps, in the average too. The adapted student is delivered, where
the paper adds its logits to those of the average.

Compared with classification/methods/rmt.py of mariodoebler/test-time-adaptation: the symmetric loss with its quarters,
the contrast of prototype, row and view, the temperature, the projection, the weights and the decay agree. Values and
gradients: `tests/methods/test_robust_mean_teacher.py::test_the_loss_and_its_gradient_are_those_of_the_authors`.

On `digits:blurred`, it is worse than a tuned `tent` by 4.9 points (3.1 to 6.7), and worse than "no pull" by 4.4 (2.8 to
6.1). Training takes 5.6 times the operations of the baseline.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from didact.claiming import Claim
from didact.errors import ConfigError, check_range
from didact.learners import ModuleLearner, averaged_statistics
from didact.losses.classes.divergence import symmetric_cross_entropy
from didact.losses.pairs.views import multi_view_nt_xent
from didact.teachers import EmaTeacher
from didact.types import Batch, Buffer, ExampleFeed, Logits, Method, Terms


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `robust_mean_teacher`."""

    ema_decay: float = 0.999  # decay of the exponential moving average
    weight: float = 1.0  # of agreement with the average
    contrast: float = 1.0  # weight of the contrast with the prototypes
    temperature: float = 0.1  # of the similarities in that contrast
    width: int = 128  # of the projection in which they are taken

    def __post_init__(self) -> None:
        check_range("ema_decay", self.ema_decay, above=0.0, below=1.0)
        check_range("weight", self.weight, at_least=0.0)
        check_range("contrast", self.contrast, at_least=0.0)
        check_range("temperature", self.temperature, above=0.0)
        check_range("width", self.width, at_least=1)


class RobustMeanTeacher(Method):
    """Adapt a trained net by agreement with its average, and contrast with prototypes.

    Args:
        config: the options.
        learner: the student, trained on another domain, with a linear head.
        seed: of the initial weights of the projection.

    Raises:
        ConfigError: the student has no linear head.
    """

    feed = ExampleFeed(
        labels=False, unlabelled=True, adapts=True, views={"augmented": "weak"}, least_batch=2, coupled=True
    )

    def __init__(self, config: Config, learner: ModuleLearner, seed: int = 0) -> None:
        if learner.head is None:
            raise ConfigError("The student has no linear head, whose rows robust_mean_teacher takes for prototypes.")
        self.config, self.learner = config, learner
        self.teacher = EmaTeacher(learner, decay=config.ema_decay, warmup=False)
        self.prototypes = Buffer(learner.head.weight.detach().clone())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            first, second = (nn.Linear(size, config.width) for size in (learner.head.in_features, config.width))
        self.projection = nn.Sequential(first, nn.ReLU(), second)

    def loss(self, batch: Batch) -> Terms:
        """`consistency` with the average, and `contrast` with the nearest prototypes."""
        config = self.config
        with averaged_statistics(self.learner, self.step):
            plain, augmented = self.learner(batch), self.learner(batch.view("augmented"))
        # The average, too, goes by the statistics of the new rows, not by those of the domain of the labels.
        for theirs, own in zip(self.teacher.learner.buffers(), self.learner.buffers(), strict=True):
            theirs.copy_(own)
        signal = self.teacher.signal(batch)
        assert isinstance(signal, Logits) and plain.hidden is not None and augmented.hidden is not None
        near = self.nearest(plain.hidden.detach())
        views = [self.place.gather(self.projection(one)) for one in (near, plain.hidden, augmented.hidden)]
        both = [symmetric_cross_entropy(one.logits, signal.logits) for one in (plain, augmented)]
        return Terms(
            consistency=both[0].times(0.5 * config.weight),
            consistency_augmented=both[1].times(0.5 * config.weight),
            contrast=multi_view_nt_xent(views, temperature=config.temperature).times(config.contrast),
        )

    def nearest(self, hidden: Tensor) -> Tensor:
        """The prototype of the largest cosine for each row of features [B, D]; [B, D]."""
        known = self.prototypes.value.to(hidden.dtype)
        return known[(F.normalize(hidden, dim=1) @ F.normalize(known, dim=1).T).argmax(1)]

    def after_step(self) -> None:
        """Update the average."""
        self.teacher.update(self.learner)


CLAIM = Claim(
    statement="A net that agrees with its average, and keeps to prototypes, gets more blurred digits right than tent.",
    arms={
        "robust_mean_teacher": "robust_mean_teacher",
        "tent": "tent",
        "no pull": {"method": "robust_mean_teacher", "weight": 0.0, "contrast": 0.0},
        "untaught": {"method": "supervised", "lr": 1e-9, "student": "bn_cnn:16,32"},
    },
    method="robust_mean_teacher",
    baseline="tent",
    cheap="no pull",
    ablation="no pull",
    untaught="untaught",
    world="digits:blurred",
    smallest_effect=0.02,
    settings={"steps": 20, "student": "warm:200:bn_cnn:16,32"},
    search={"robust_mean_teacher": {"lr": (0.0003, 0.001, 0.003)}, "tent": {"lr": (0.0003, 0.001, 0.003)}},
    equal="steps",
    tuned_on=(0, 1, 2),
    seeds=(1900, 1901, 1902, 1903, 1904, 1905, 1906, 1907, 1908, 1909, 1910, 1911),
    shows="Symmetric agreement and contrast without source data, beside the statistics of the new rows alone.",
    omits="Long streams of changing corruptions, replay of source data, and answers of student and average together.",
    systems=("robust-mean-teacher-for-continual-and",),
)
