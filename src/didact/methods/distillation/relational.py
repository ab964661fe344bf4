"""Relational Knowledge Distillation (Park, Kim, Lu & Cho 2019).

The student learns the relations between the examples of a batch rather than the teacher's embedding of each: their
distances, in units of the mean distance, and the angles of all triplets. The two embeddings may have different widths.

Departures: the student is also distilled by predictions, as in one of the paper's experiments (`alpha` 0 removes that);
an example is also paired with itself, which adds zeros to the sums, as in the authors' code.

The claim is not shown on digits: with the paper's weights, on seeds 0 to 2 as on those reported, the student is as
accurate as by distillation alone. Both come close to their teacher there, so the relations have little to add.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from didact.claiming import Claim
from didact.errors import check_range
from didact.learners import TapConfig
from didact.losses.labels.supervised import label_loss
from didact.losses.labels.targets import SoftTargetConfig, distillation_loss, target_features
from didact.losses.pairs.relational import rkd_angle, rkd_distance
from didact.types import Batch, ExampleFeed, Learner, Method, Teacher, Terms, is_labelled


@dataclass(frozen=True, kw_only=True)
class Config(TapConfig, SoftTargetConfig):
    """Options of `relational`."""

    distance: float = 25.0  # weight of the distances between examples
    angle: float = 50.0  # weight of the angles between examples

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("distance", self.distance, at_least=0.0, below=float("inf"))
        check_range("angle", self.angle, at_least=0.0, below=float("inf"))


class Relational(Method):
    """Distil probabilities, and the relations between examples.

    Args:
        config: the options.
        learner: the student, with taps.
        teacher: a teacher with features.
        sample: two examples or more, to check that the layers exist.
    """

    feed = ExampleFeed(unlabelled=True, least_batch=2, coupled=True)

    def __init__(self, config: Config, learner: Learner, teacher: Teacher, sample: Batch) -> None:
        self.config = config
        self.learner = learner
        self.teacher = teacher
        learner.tap(config.student_tap)
        teacher.tap(config.teacher_tap)
        with torch.no_grad():
            self.loss(sample)

    def loss(self, batch: Batch) -> Terms:
        """`distance` over pairs, `angle` over triplets, `teacher` over examples, `label` over those that have one."""
        config = self.config
        signal, output = self.teacher.signal(batch), self.learner(batch)
        mine = self.place.gather(output.features[config.student_tap])
        theirs = self.place.gather(target_features(signal, config.teacher_tap))
        trust = self.place.gather(signal.trust)
        return Terms(
            distance=rkd_distance(mine, theirs, trust=trust).times(config.distance),
            angle=rkd_angle(mine, theirs, trust=trust).times(config.angle),
            teacher=distillation_loss(output.logits, signal, temperature=config.temperature).times(config.alpha),
            label=label_loss(output.logits, batch["label"], weight=batch.label_weight).times(1.0 - config.alpha),
        )

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """All pairs, triplets and examples for the teacher, the labelled ones for the labels."""
        labelled = is_labelled(batch["label"]).sum()
        return {"distance": batch.size**2, "angle": batch.size**3, "teacher": batch.size, "label": labelled}


CLAIM = Claim(
    statement="A student that also keeps relations between examples is more accurate than by distillation alone.",
    arms={
        "relational": "relational",
        "distill": "distill",
        "supervised": "supervised",
        "every answer wrong": {"method": "relational", "teacher": "noisy:1.0:mlp:256,256"},
        "random teacher": {"method": "distill", "teacher": "random"},
        "label_spreading": "label_spreading",
    },
    method="relational",
    baseline="distill",
    cheap="label_spreading",
    settings={"labels": 100, "steps": 1000, "student": "mlp:32", "teacher": "mlp:256,256"},
    equal="steps",
    seeds=(100, 101, 102, 103, 104),
    shows="Distances and angles before the head in addition to the same probabilities, at the same number of updates.",
    omits="Batches are of one small problem, where the paper is mainly about retrieval and deep nets.",
)
