"""Improving Knowledge Distillation via Regularizing Feature Norm and Direction (Wang et al. 2023).

In addition to plain distillation (KD++), the student's features are trained towards the mean of the teacher's features
of their class, which is a strong classifier by itself, and towards the teacher's feature norm while theirs is smaller
(the ND loss).

Departures: the class means are over the examples seen so far, instead of a pass over the training data beforehand, so
the first step has none; an example without a label belongs to the teacher's most likely class; the divergence has its
full weight from the start, where theirs rises over 20 epochs; the student's features go through a linear layer only
where the widths differ, without the paper's batch normalisation and dropout.

Compared with CIFAR/utils.py and train_cifar.sh of WangYZ1608/Knowledge-Distillation-via-ND: the loss and the defaults
(for ResNet-56 to ResNet-20) agree; for other pairs it weighs the divergence by 1 to 4 and the direction by 0.5 to 2.
Values: `tests/losses/test_direction.py::test_the_longer_of_the_two_norms_divides`.

On `mnist1d` with 300 labels, it is worse than a tuned `distill` by 1.1 points (0.5 to 1.7), better than `supervised` by
25.4 (24.7 to 26.1), and equivalent to itself without its mechanism ("no direction") (+0.3, -0.3 to +0.8). Training
takes 1.4 times the operations of the baseline.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from didact.claiming import Claim
from didact.errors import ConfigError, TeacherError, check_range
from didact.learners import TapConfig, projector
from didact.losses.features.distances import norm_direction
from didact.losses.labels.supervised import label_loss
from didact.losses.labels.targets import distillation_loss
from didact.memory import ClassMeans
from didact.types import Batch, ExampleFeed, Features, Learner, Method, Teacher, Terms, is_labelled


@dataclass(frozen=True, kw_only=True)
class Config(TapConfig):
    """Options of `norm_direction`."""

    weight: float = 2.0  # weight of the norm and direction loss
    teacher_weight: float = 1.0  # weight of the distillation loss
    temperature: float = 4.0  # softens the probabilities of both

    def __post_init__(self) -> None:
        check_range("weight", self.weight, at_least=0.0)
        check_range("teacher_weight", self.teacher_weight, at_least=0.0)
        check_range("temperature", self.temperature, above=0.0)


class NormDirection(Method):
    """Distil probabilities, and regularise the norm and direction of features.

    Args:
        config: the options.
        learner: the student, with taps.
        teacher: a teacher with features and logits.
        sample: a few examples, to find the shapes of the features.
        seed: of the projector's initial weights.
    """

    feed = ExampleFeed(unlabelled=True)

    def __init__(self, config: Config, learner: Learner, teacher: Teacher, sample: Batch, seed: int = 0) -> None:
        self.config = config
        self.learner = learner
        self.teacher = teacher
        learner.tap(config.student_tap)
        teacher.tap(config.teacher_tap)
        output = learner(sample)
        mine, theirs = output.features[config.student_tap], self.signal(sample).features[config.teacher_tap]
        if theirs.ndim != 2:
            raise ConfigError(
                f"teacher_tap is {config.teacher_tap!r}, whose features have the shape {list(theirs.shape[1:])}, but a "
                "class's direction is that of a vector; tap a layer that gives vectors, such as hidden."
            )
        self.projector = projector(mine.shape[1:], theirs.shape[1:], seed=seed, identity=True)
        self.means = ClassMeans(output.logits.shape[-1], theirs.shape[1:], decay=1.0)
        self.seen: list[tuple[Tensor, Tensor]] = []

    def signal(self, batch: Batch) -> Features:
        """The teacher's features and logits."""
        signal = self.teacher.signal(batch)
        if isinstance(signal, Features) and signal.logits is not None:
            return signal
        raise TeacherError(
            f"The teacher's signal is {type(signal).__name__}; norm_direction needs features and logits, so give it a "
            "net, such as mlp:256,256 or runs/NAME."
        )

    def loss(self, batch: Batch) -> Terms:
        """`direction` and `teacher` over all examples, `label` over those that have one."""
        config, signal, output = self.config, self.signal(batch), self.learner(batch)
        assert signal.logits is not None
        label, theirs = batch["label"], signal.features[config.teacher_tap]
        belongs = torch.where(is_labelled(label), label, signal.logits.argmax(-1))
        mine = self.projector(output.features[config.student_tap])
        direction = norm_direction(mine, theirs, self.means.mean[belongs], trust=signal.trust)
        self.seen.append((self.place.gather(belongs), self.place.gather(theirs)))
        return Terms(
            direction=direction.times(config.weight),
            teacher=distillation_loss(output.logits, signal, temperature=config.temperature).times(
                config.teacher_weight
            ),
            label=label_loss(output.logits, label, weight=batch.label_weight),
        )

    def after_step(self) -> None:
        """Update the class means with the examples of the step."""
        for belongs, theirs in self.seen:
            self.means.update(belongs, theirs)
        self.seen.clear()

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """All examples for the teacher (which never abstains), the labelled ones for the labels."""
        return {"direction": batch.size, "teacher": batch.size, "label": is_labelled(batch["label"]).sum()}


CLAIM = Claim(
    statement="A student whose features follow the direction of their class is more accurate than by distillation.",
    arms={
        "norm_direction": "norm_direction",
        "distill": "distill",
        "supervised": "supervised",
        "no direction": {"method": "norm_direction", "weight": 0.0},
        "untaught": {"method": "supervised", "lr": 1e-9},
    },
    method="norm_direction",
    baseline="distill",
    cheap="supervised",
    ablation="no direction",
    untaught="untaught",
    world="mnist1d",
    smallest_effect=0.01,
    settings={"labels": 300, "test": 0.4, "steps": 400, "student": "mlp:64", "teacher": "cnn1d:16,32,16"},
    search={
        "norm_direction": {"teacher_weight": (1.0, 4.0), "lr": (0.01, 0.03)},
        "distill": {"temperature": (2.0, 4.0), "lr": (0.01, 0.03)},
        "supervised": {"lr": (0.01, 0.03)},
    },
    equal="steps",
    tuned_on=(0, 1, 2),
    seeds=(420, 421, 422, 423, 424, 425, 426, 427, 428, 429, 430, 431, 432, 433, 434, 435, 436, 437, 438, 439),
    shows="What the direction of the class and the length of the features add to distillation.",
    omits="Images, many classes and deep nets. Object detection, and feature distillation.",
    systems=("improving-knowledge-distillation-via-regularizin",),
)
