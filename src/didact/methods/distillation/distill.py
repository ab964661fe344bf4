"""Distilling the Knowledge in a Neural Network (Hinton, Vinyals & Dean 2015).

The student matches the teacher's class probabilities, both softened by a temperature, on labelled and unlabelled
examples; where there is a label, it also fits that. The soft loss is multiplied by the squared temperature, so that its
gradient keeps its size when the temperature changes (section 2).

Departures: the two losses have the weights `alpha` and 1 - `alpha`, where the paper gives no formula for its "weighted
average"; the label loss is averaged over the labelled examples only. For regression, which the paper does not treat,
the student fits the teacher's predictions by squared error, and the embeddings of an encoder likewise, in units of
their squared length (as sentence-transformers distils encoders by `MSELoss`).

Compared with distiller_zoo/KD.py and helper/loops.py of HobbitLong/RepDistiller: the divergence, its squared
temperature and the means over a batch agree; the weights of its two losses need not add up to 1. Values and gradients:
`tests/methods/test_methods.py::test_distill_and_its_gradient_are_those_of_repdistiller`.

The paper fixes no temperature and no weight. RepDistiller, mdistiller and torchdistill have 4 and 0.9 on CIFAR-100, for
200 epochs and more, and torchdistill 1 and 0.5 on ImageNet. In runs of a few hundred steps at small learning rates, a
temperature of 4 was behind 1 by up to 24 points, and 2 by less; at larger rates, or in longer runs, they were alike.

On MNIST-1D with 300 labels it is better than plain training, both tuned, by 26 points (25 to 27), and than label
spreading by 20 (19 to 21).

On `mnist1d` with 300 labels, it is better than a tuned `supervised` by 26.0 points (25.1 to 27.0), better than
`label_spreading` by 19.7 (18.9 to 20.6), and better than itself without its mechanism ("labels alone") by 24.3 (23.4 to
25.2).
"""

from dataclasses import dataclass

from torch import Tensor

from didact.claiming import Claim
from didact.losses.labels.supervised import label_loss
from didact.losses.labels.targets import SoftTargetConfig, distillation_loss
from didact.types import Batch, ExampleFeed, Learner, Method, Teacher, Terms, is_labelled


@dataclass(frozen=True, kw_only=True)
class Config(SoftTargetConfig):
    """Options of `distill`."""


class Distill(Method):
    """Match a teacher's softened probabilities, numbers or embeddings.

    Args:
        config: the options.
        learner: the student.
        teacher: a teacher with logits, class probabilities, class labels, numbers for a regression, or embeddings.
    """

    feed = ExampleFeed(unlabelled=True, tasks=("classification", "regression", "embedding"))

    def __init__(self, config: Config, learner: Learner, teacher: Teacher) -> None:
        self.config = config
        self.learner = learner
        self.teacher = teacher

    def loss(self, batch: Batch) -> Terms:
        """`teacher`: softened forward KL over all examples; `label`: the plain loss over those that have a label."""
        signal = self.teacher.signal(batch)
        logits = self.learner(batch).logits
        alpha = self.config.alpha
        return Terms(
            teacher=distillation_loss(logits, signal, temperature=self.config.temperature).times(alpha),
            label=label_loss(logits, batch["label"], weight=batch.label_weight).times(1.0 - alpha),
        )

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """All examples for the teacher (which never abstains), the labelled ones for the labels."""
        return {"teacher": batch.size, "label": is_labelled(batch["label"]).sum()}


CLAIM = Claim(
    statement="A student that also matches a stronger net's probabilities is more accurate than on labels alone.",
    arms={
        "distill": "distill",
        "supervised": "supervised",
        "label_spreading": "label_spreading",
        "labels alone": {"method": "distill", "alpha": 0.0},
        "untaught": {"method": "supervised", "lr": 1e-9},
    },
    method="distill",
    baseline="supervised",
    cheap="label_spreading",
    ablation="labels alone",
    untaught="untaught",
    world="mnist1d",
    smallest_effect=0.01,
    settings={"labels": 300, "test": 0.4, "steps": 400, "student": "mlp:64", "teacher": "cnn1d:16,32,16"},
    search={
        "distill": {"temperature": (1.0, 4.0), "lr": (0.01, 0.03)},
        "supervised": {"lr": (0.001, 0.003, 0.01, 0.03)},
    },
    equal="steps",
    tuned_on=(0, 1, 2),
    seeds=(400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 419),
    shows="What a convolutional net that saw all labels can tell a small student that sees 300 of them.",
    omits="Images, many classes and deep nets. The teacher is one net, where the paper also has ensembles.",
)
