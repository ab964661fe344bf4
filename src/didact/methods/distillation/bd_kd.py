"""BD-KD: Balancing the Divergences for Online Knowledge Distillation (Amara, Sepahvand, Meyer, Gross & Clark 2022).

A student and a larger teacher learn at once, from nothing. The student follows the labels, and both directions of the
KL divergence to the teacher: example by example, the forward one weighs more where the student is surer than the
teacher, and the reverse one where it is less sure, so that its confidence is mended too. The teacher follows the labels
and, as in mutual learning, the student's probabilities.

Departures: the two weights of an example sum to 1, with `emphasis` for the direction that is called for, where the
paper gives each direction a weight of its own; which direction is called for is derived from what each does to the
student's entropy. Both take their steps at the same time; examples without a label take part in the divergences only.

The claim is not replicated: at weights of 1 and 3, and with balanced and unbalanced directions, calibration on digits
is a little better than with mutual learning, by less than it varies between seeds. Small nets that learn for a short
time are about as sure as they should be, where the paper's are overconfident, so that there is little to mend.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from didact.claiming import Claim
from didact.errors import check_range
from didact.losses.classes.divergence import entropy_balanced_kl
from didact.losses.labels.supervised import label_loss
from didact.losses.labels.targets import distillation_loss, target_log_probs
from didact.types import Batch, ExampleFeed, Learner, Logits, Method, Terms, is_labelled


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `bd_kd`."""

    peer: str = ""  # spec of the teacher that learns beside the student, such as mlp:256,256; by default the learner's
    emphasis: float = 0.75  # share of the direction that an example calls for; 0.5 weighs both alike
    weight: float = 3.0  # weight of what the teacher says to the student, against the labels
    teacher_weight: float = 1.0  # weight of what the student says to the teacher, against the labels
    temperature: float = 1.0  # softens the probabilities in what they say to each other

    def __post_init__(self) -> None:
        check_range("emphasis", self.emphasis, at_least=0.0, at_most=1.0)
        check_range("weight", self.weight, at_least=0.0)
        check_range("teacher_weight", self.teacher_weight, at_least=0.0)
        check_range("temperature", self.temperature, above=0.0)


class BDKD(Method):
    """Teach a student by a teacher that learns beside it, with balanced divergences.

    Args:
        config: the options.
        learner: the student, which is delivered.
        spawn: makes the teacher from a spec ("" for the learner's own), initialised anew.
    """

    feed = ExampleFeed(unlabelled=True)

    def __init__(self, config: Config, learner: Learner, spawn: Callable[[str], nn.Module]) -> None:
        self.config = config
        self.learner = learner
        self.peer = spawn(config.peer)

    def loss(self, batch: Batch) -> Terms:
        """`label` and `balanced` for the student, `peer_label` and `peer_student` for the teacher beside it."""
        config, mine, theirs = self.config, self.learner(batch).logits, self.peer(batch).logits
        said = target_log_probs(Logits(logits=theirs.detach()), config.temperature, classes=mine.shape[-1])
        balanced = entropy_balanced_kl(mine, said, emphasis=config.emphasis, temperature=config.temperature)
        answered = distillation_loss(theirs, Logits(logits=mine.detach()), temperature=config.temperature)
        return Terms(
            label=label_loss(mine, batch["label"]),
            balanced=balanced.times(config.weight),
            peer_label=label_loss(theirs, batch["label"]),
            peer_student=answered.times(config.teacher_weight),
        )

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """All examples for the divergences, the labelled ones for the labels."""
        labelled = is_labelled(batch["label"]).sum()
        return {"label": labelled, "balanced": batch.size, "peer_label": labelled, "peer_student": batch.size}


CLAIM = Claim(
    statement="A small student is better calibrated with balanced divergences than with mutual learning's forward one.",
    arms={
        "bd_kd": {"method": "bd_kd", "peer": "mlp:256,256"},
        "mutual_learning": {"method": "mutual_learning", "peer": "mlp:256,256"},
        "unbalanced": {"method": "bd_kd", "peer": "mlp:256,256", "emphasis": 0.5},
        "supervised": "supervised",
    },
    method="bd_kd",
    baseline="mutual_learning",
    cheap="supervised",
    metric="ece",
    settings={"labels": 200, "steps": 1200, "student": "mlp:16"},
    equal="steps",
    tuned_on=(0, 1, 2, 3),
    tuned="The weight of what the other net says, of 1 and 3, for bd_kd (3) and for mutual_learning (1, its default).",
    shows="What weighing both directions by example does to a small net that learns beside a larger one.",
    omits="Deep convolutional nets, many classes, and a student that is overconfident from many epochs.",
    systems=("bd-kd",),
)
