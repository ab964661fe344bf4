"""BD-KD: Balancing the Divergences for Online Knowledge Distillation (Amara, Sepahvand, Meyer, Gross & Clark 2022).

A student and a larger teacher are trained together from scratch. The student learns from the labels and from both
directions of the KL divergence to the teacher. For each example the forward KL weighs more if the student is more
confident than the teacher, and the reverse KL if it is less confident, which also corrects its calibration. The teacher
learns from the labels and, as in mutual learning, from the student's probabilities.

Departures: the two weights of an example sum to 1, with `emphasis` for the favoured direction, where the paper gives
each direction a weight of its own; the favoured direction is derived from the effect of each on the student's entropy.
Both nets are updated at the same time; examples without a label contribute to the divergences only.

Compared with no code of the authors, of which none was found.

Formula: `tests/methods/test_bd_kd.py::test_the_loss_is_that_of_both`.

On `mnist1d`, it is equivalent to a tuned `mutual_learning` (-0.004 nats, -0.012 to +0.005), better than `supervised` by
0.033 (0.023 to 0.042), and equivalent to itself without its mechanism ("unbalanced") (-0.008, -0.015 to -0.001).
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

    peer: str = ""  # spec of the teacher trained with the student, such as mlp:256,256; by default the learner's
    emphasis: float = 0.75  # weight of the direction that an example favours; 0.5 weighs both alike
    weight: float = 3.0  # weight of the student's distillation loss, relative to the labels
    teacher_weight: float = 1.0  # weight of the teacher's distillation loss, relative to the labels
    temperature: float = 1.0  # softens the probabilities of both

    def __post_init__(self) -> None:
        check_range("emphasis", self.emphasis, at_least=0.0, at_most=1.0)
        check_range("weight", self.weight, at_least=0.0)
        check_range("teacher_weight", self.teacher_weight, at_least=0.0)
        check_range("temperature", self.temperature, above=0.0)


class BDKD(Method):
    """Train a student together with its teacher, with balanced divergences.

    Args:
        config: the options.
        learner: the student, which is delivered.
        spawn: makes the teacher from a spec ("" for the learner's own), with fresh weights.
    """

    feed = ExampleFeed(unlabelled=True)

    def __init__(self, config: Config, learner: Learner, spawn: Callable[[str], nn.Module]) -> None:
        self.config = config
        self.learner = learner
        self.peer = spawn(config.peer)

    def loss(self, batch: Batch) -> Terms:
        """`label` and `balanced` for the student, `peer_label` and `peer_student` for the teacher."""
        config, mine, theirs = self.config, self.learner(batch).logits, self.peer(batch).logits
        target = target_log_probs(Logits(logits=theirs.detach()), config.temperature, classes=mine.shape[-1])
        balanced = entropy_balanced_kl(mine, target, emphasis=config.emphasis, temperature=config.temperature)
        peer_student = distillation_loss(theirs, Logits(logits=mine.detach()), temperature=config.temperature)
        return Terms(
            label=label_loss(mine, batch["label"], weight=batch.label_weight),
            balanced=balanced.times(config.weight),
            peer_label=label_loss(theirs, batch["label"], weight=batch.label_weight),
            peer_student=peer_student.times(config.teacher_weight),
        )

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """All examples for the divergences, the labelled ones for the labels."""
        labelled = is_labelled(batch["label"]).sum()
        return {"label": labelled, "balanced": batch.size, "peer_label": labelled, "peer_student": batch.size}


CLAIM = Claim(
    statement="A small student predicts better with balanced divergences than with mutual learning's forward one.",
    arms={
        "bd_kd": {"method": "bd_kd", "peer": "mlp:256"},
        "mutual_learning": {"method": "mutual_learning", "peer": "mlp:256"},
        "supervised": "supervised",
        "unbalanced": {"method": "bd_kd", "peer": "mlp:256", "emphasis": 0.5},
        "untaught": {"method": "supervised", "lr": 1e-9},
    },
    method="bd_kd",
    baseline="mutual_learning",
    cheap="supervised",
    ablation="unbalanced",
    untaught="untaught",
    world="mnist1d",
    metric="nll",
    smallest_effect=0.02,
    settings={"test": 0.4, "steps": 400, "student": "mlp:64"},
    search={
        "bd_kd": {"weight": (1.0, 3.0), "lr": (0.01, 0.03)},
        "mutual_learning": {"weight": (1.0, 3.0), "lr": (0.01, 0.03)},
        "supervised": {"lr": (0.01, 0.03)},
    },
    equal="steps",
    tuned_on=(0, 1, 2),
    seeds=(400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 419),
    shows="The effect of weighing both directions by example on a small net that is trained with a larger one.",
    omits="Deep convolutional nets, many classes, and a student that is overconfident from many epochs.",
    systems=("bd-kd",),
)
