"""Distilling the Knowledge in a Neural Network (Hinton, Vinyals & Dean 2015).

The student matches the teacher's class probabilities, both softened by a temperature, on labelled and unlabelled
examples; where there is a label, it also fits that. The soft loss is multiplied by the squared temperature, so that its
gradient keeps its size when the temperature changes (section 2).

Departures: the two losses have the weights `alpha` and 1 - `alpha`, where the paper gives no formula for its "weighted
average"; the label loss is averaged over the labelled examples only. For regression, which the paper does not treat,
the student fits the teacher's predictions by squared error, and the embeddings of an encoder likewise, in units of
their squared length (as sentence-transformers distils encoders by `MSELoss`).
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
    statement="A student that also matches a large net's softened probabilities is more accurate than on labels alone.",
    arms={
        "distill": "distill",
        "supervised": "supervised",
        "random teacher": {"method": "distill", "teacher": "random"},
        "label_spreading": "label_spreading",
    },
    method="distill",
    baseline="supervised",
    cheap="label_spreading",
    settings={"labels": 100, "steps": 1000, "student": "mlp:32", "teacher": "mlp:256,256"},
    equal="steps",
    shows="A stronger net's predictions on labelled and unlabelled images help a student that sees few labels.",
    omits="The teacher is one net that learned from all training labels, where the paper has ensembles and large data.",
)
