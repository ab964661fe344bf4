"""Self-supervised Label Augmentation via Input Transformations (Lee, Hwang & Shin 2020).

A second head predicts the class and the rotation of each rotated input as one joint label. Averaged over the rotations
of an example, its predictions are those of an ensemble, which the net's own head learns besides the labels, so that one
forward pass does at the end what four did. The joint head is dropped.

Departures: inputs that are not square images are rolled along their last axis instead of rotated.

Compared with trainers.py of hankook/SLA (`create_sla_sd_trainer`): the three terms, the squared temperature and the
temperature of 1 agree. Two options that it leaves off are not here: the joint loss times the number of rotations, and a
loss of the average. Values and gradients:
`tests/methods/test_label_augmentation.py::test_the_loss_and_its_gradient_are_those_of_create_sla_sd_trainer`.

Mechanism: `tests/methods/test_label_augmentation.py::test_the_own_head_is_pulled_to_the_average_over_rotations`.

On `characters` with 520 labels, it is better than a tuned `supervised` by 2.0 points (1.3 to 2.6), worse than "slight
augmentation" by 5.5 (4.3 to 6.6), and undecided against itself without its mechanism ("joint labels alone") (+0.5, -0.1
to +1.2). Training takes 5.6 times the operations of the baseline.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from didact.claiming import Claim
from didact.errors import ConfigError, check_range
from didact.learners import HIDDEN, AuxiliaryHead, ModuleLearner, pool_features
from didact.losses.classes.divergence import forward_kl
from didact.losses.labels.joint import joint_class_log_probs, joint_labels
from didact.losses.labels.supervised import cross_entropy, label_loss
from didact.sources import TURNS, rotations
from didact.types import Batch, Method, Terms, is_labelled


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `label_augmentation`."""

    joint: float = 1.0  # weight of the joint labels of class and rotation
    weight: float = 1.0  # weight of distillation from the average over rotations
    temperature: float = 1.0  # softens the probabilities of both in that distillation
    tap: str = HIDDEN  # what the joint head reads, by module name; "hidden" is the head's input

    def __post_init__(self) -> None:
        check_range("joint", self.joint, above=0.0)
        check_range("weight", self.weight, at_least=0.0)
        check_range("temperature", self.temperature, above=0.0)


class LabelAugmentation(Method):
    """Predict class and rotation jointly, and distil the average over rotations.

    Args:
        config: the options.
        learner: the student, with taps.
        sample: a few examples, to find the shape of the representation.
        seed: of the joint head's initial weights.

    Raises:
        ConfigError: the inputs are text, which cannot be rotated.
    """

    def __init__(self, config: Config, learner: ModuleLearner, sample: Batch, seed: int = 0) -> None:
        if "x" not in sample:
            raise ConfigError("The inputs are text, which label_augmentation cannot rotate; give it images.")
        self.config, self.learner = config, learner
        learner.tap(config.tap)
        with torch.no_grad():
            output = learner(sample)
        width = pool_features(output.features[config.tap]).shape[-1]
        self.head = AuxiliaryHead(width, output.logits.shape[-1] * TURNS, seed=seed)

    def loss(self, batch: Batch) -> Terms:
        """`label`; `joint` under every rotation; `aggregate` from the average over rotations."""
        config = self.config
        turned = Batch({"x": rotations(batch["x"]), "id": batch["id"].repeat(TURNS)})
        output = self.learner(turned)
        logits, joint = output.logits[: batch.size], self.head(output.features[config.tap])
        target = joint_class_log_probs(joint.detach(), TURNS, temperature=config.temperature)
        return Terms(
            label=label_loss(logits, batch["label"], weight=batch.label_weight),
            joint=cross_entropy(joint, joint_labels(batch["label"], TURNS)).times(config.joint),
            aggregate=forward_kl(logits, target, temperature=config.temperature).times(config.weight),
        )

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """Labels, each also under every rotation for the joint head; all examples for the average."""
        labelled = is_labelled(batch["label"]).sum()
        return {"label": labelled, "joint": labelled * TURNS, "aggregate": batch.size}


CLAIM = Claim(
    statement="A net that also learns joint labels of class and rotation, and their average, is more accurate.",
    arms={
        "label_augmentation": "label_augmentation",
        "supervised": "supervised",
        "slight augmentation": {"method": "supervised", "augment": "weak"},
        "joint labels alone": {"method": "label_augmentation", "weight": 0.0},
        "untaught": {"method": "supervised", "lr": 1e-9},
    },
    method="label_augmentation",
    baseline="supervised",
    cheap="slight augmentation",
    ablation="joint labels alone",
    untaught="untaught",
    world="characters",
    smallest_effect=0.01,
    settings={"labels": 520, "test": 0.3, "steps": 300, "student": "mlp:64,64"},
    search={
        "label_augmentation": {"weight": (0.3, 1.0), "lr": (0.003, 0.01)},
        "supervised": {"lr": (0.001, 0.003, 0.01, 0.03)},
        "slight augmentation": {"lr": (0.003, 0.01)},
    },
    equal="steps",
    tuned_on=(0, 1, 2),
    seeds=(400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415),
    shows="Joint labels and self-distillation with twenty labels for each letter, at the same number of updates.",
    omits="Deep nets and natural images; the paper's ensemble at test time. Forward passes cost four times as much.",
    systems=("self-supervised-label-augmentation-via-input-tra",),
)
