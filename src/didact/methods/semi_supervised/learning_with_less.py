"""Learning with less (LLKD): what the teacher is sure of and the student is not (Li et al. 2024).

The teacher's likeliest class is the label of an example. It is learned where the teacher's confidence and the student's
uncertainty (its entropy, 1 for uniform answers) both reach their moving averages, and is weighted by their product. No
labels are read.

Departures: inferred from the abstract and from descriptions, as no text of the formulas or code was at hand; the
thresholds are moving averages whose decay rises as min(decay, (1 + n) / (10 + n)) over steps n, and any teacher of
classes stands in for the language model.

Formula: `tests/methods/test_confident_answers.py::test_learning_with_less_is_its_description`.

On `characters` with 260 labels, it is worse than a tuned "everything" by 14.2 points (12.3 to 16.2), and undecided
against "sure teacher" (-0.9, -2.3 to +0.5).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from didact.claiming import Claim
from didact.errors import check_range
from didact.losses.labels.gates import admitted_share, joint_gate
from didact.losses.labels.supervised import cross_entropy
from didact.losses.labels.targets import target_probs
from didact.types import Batch, Buffer, ExampleFeed, Learner, Method, Teacher, Terms


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `learning_with_less`."""

    sure_teacher: bool = True  # whether the teacher's confidence selects and weighs examples
    unsure_student: bool = True  # whether the student's uncertainty selects and weighs examples
    decay: float = 0.99  # decay of the averages that are the thresholds

    def __post_init__(self) -> None:
        check_range("decay", self.decay, at_least=0.0, below=1.0)


class LearningWithLess(Method):
    """Learns what the teacher is sure of and the student is not.

    Args:
        config: the options.
        learner: the student.
        teacher: a teacher of classes.
    """

    feed = ExampleFeed(unlabelled=True, labels=False, coupled=True)

    def __init__(self, config: Config, learner: Learner, teacher: Teacher) -> None:
        self.config, self.learner, self.teacher = config, learner, teacher
        self.thresholds = Buffer(torch.zeros(2))

    def loss(self, batch: Batch) -> Terms:
        """`teacher` over all examples, and the mean weight of these, `admitted`."""
        logits = self.learner(batch).logits
        sure, said = target_probs(self.teacher.signal(batch), 1.0, classes=logits.shape[-1]).max(-1)
        gate = self.weigh(sure, logits.detach().float().softmax(-1))
        every = torch.ones_like(gate)
        return Terms(
            teacher=cross_entropy(logits, said, trust=every, weight=gate), admitted=admitted_share(gate, every)
        )

    def weigh(self, sure: Tensor, probs: Tensor) -> Tensor:
        """The weights of examples, float [B], by the teacher's confidence [B] and the student's answers [B, C]."""
        unsure = torch.special.entr(probs).sum(-1) / math.log(probs.shape[-1])
        sure, unsure = (
            value if used else torch.ones_like(value)
            for value, used in ((sure, self.config.sure_teacher), (unsure, self.config.unsure_student))
        )
        means = torch.stack([self.place.gather(value).mean() for value in (sure, unsure)])
        decay = min(self.config.decay, (1 + self.step) / (10 + self.step))
        self.thresholds.value = torch.lerp(means, self.thresholds.value.to(means), decay)
        return joint_gate(sure, unsure, *self.thresholds.value)


CLAIM = Claim(
    statement="A student learns more in few steps from what its teacher is sure of and it is not than from everything.",
    arms={
        "learning_with_less": "learning_with_less",
        "everything": {"method": "learning_with_less", "sure_teacher": False, "unsure_student": False},
        "sure teacher": {"method": "learning_with_less", "unsure_student": False},
        "untaught": {"method": "supervised", "lr": 1e-9},
    },
    method="learning_with_less",
    baseline="everything",
    cheap="sure teacher",
    ablation="everything",
    untaught="untaught",
    world="characters",
    smallest_effect=0.01,
    settings={"labels": 260, "test": 0.3, "steps": 150, "teacher": "mlp:64", "teacher_epochs": 10, "student": "mlp:64"},
    search={
        "learning_with_less": {"lr": (0.003, 0.01, 0.03)},
        "everything": {"lr": (0.003, 0.01, 0.03)},
    },
    equal="steps",
    tuned_on=(0, 1, 2),
    seeds=(520, 521, 522, 523, 524, 525, 526, 527, 528, 529, 530, 531),
    shows="Selection and weights by a teacher's confidence and a student's entropy, on hard labels.",
    omits="Language models as teachers, their prompts, and the paper's texts.",
    systems=("learning-with-less",),
)
