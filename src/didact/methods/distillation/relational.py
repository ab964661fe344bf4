"""Relational Knowledge Distillation (Park, Kim, Lu & Cho 2019).

The student learns the relations between the examples of a batch rather than the teacher's embedding of each: their
distances, in units of the mean distance, and the angles of all triplets. The two embeddings may have different widths.

Departures: the student is also distilled by predictions, as in one of the paper's experiments (`alpha` 0 removes that);
an example is also paired with itself, which adds zeros to the sums, as in the authors' code.

Compared with distiller_zoo/RKD.py of HobbitLong/RepDistiller: both losses and their weights agree. Values:
`tests/losses/test_relational.py::test_relations_match_a_slow_transcription`.

On `mnist1d` with 300 labels, it is better than a tuned `distill` by 0.8 points (0.4 to 1.3), and better than
`supervised` by 27.3 (26.6 to 28.1); a single run does not show that. Training takes 4.8 times the operations of the
baseline.
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
        "no relations": {"method": "relational", "distance": 0.0, "angle": 0.0},
        "untaught": {"method": "supervised", "lr": 1e-9},
    },
    method="relational",
    baseline="distill",
    cheap="supervised",
    ablation="no relations",
    untaught="untaught",
    world="mnist1d",
    smallest_effect=0.01,
    settings={"labels": 300, "test": 0.4, "steps": 400, "student": "mlp:64", "teacher": "cnn1d:16,32,16"},
    search={
        "relational": {"angle": (5.0, 50.0), "lr": (0.01, 0.03)},
        "distill": {"temperature": (2.0, 4.0), "lr": (0.01, 0.03)},
        "supervised": {"lr": (0.01, 0.03)},
    },
    equal="steps",
    tuned_on=(0, 1, 2),
    seeds=(420, 421, 422, 423, 424, 425, 426, 427, 428, 429, 430, 431, 432, 433, 434, 435, 436, 437, 438, 439),
    shows="Distances and angles before the head, in addition to the same probabilities.",
    omits="Images, many classes and deep nets. Retrieval, which the paper is mainly about.",
)
