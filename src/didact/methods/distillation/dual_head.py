"""Dual-Head Knowledge Distillation: Enhancing Logits Utilization with an Auxiliary Head (Yang et al. 2024).

The student has a second, auxiliary head. The first head learns from probabilities, the auxiliary head from the
teacher's logits, class by class (BinaryKL-Norm). The layers below learn from both, while neither head has to satisfy
two conflicting losses. The auxiliary head is dropped when the student is delivered.

Departures: the auxiliary head is a linear layer, without the paper's gradient alignment and non-linear head for pairs
of different architectures; the first head's distillation loss has the weight `teacher_weight`, 0 by default as in the
published code; examples without a label contribute to the teacher's terms.

Compared with distiller_zoo/BinaryKLNorm.py and helper/loops.py of penghui-yang/DHKD: the loss agrees. Its `alpha` is
0.1 with a linear head, as ours is (ImageNet), and 1 with a non-linear one and gradient alignment (CIFAR-100). Values:
`tests/methods/test_dual_head.py::test_the_losses_are_those_of_their_heads`.

On `mnist1d`, it is equivalent to a tuned `distill` (0.0 points, -0.6 to +0.7), better than `supervised` by 1.4 (0.9 to
1.9), and equivalent to itself without its mechanism ("one head") (+0.3, -0.3 to +0.9). Training takes 1.3 times the
operations of the baseline.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from didact.claiming import Claim
from didact.errors import TeacherError, check_range
from didact.learners import HIDDEN, projector
from didact.losses.classes.logits import binary_kl
from didact.losses.labels.supervised import label_loss
from didact.losses.labels.targets import distillation_loss
from didact.types import Batch, ExampleFeed, Features, Learner, Logits, Method, Teacher, Terms, is_labelled


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `dual_head`."""

    heads: int = 2  # 2: the logit loss has a head of its own; 1: one head has all losses, as a control
    alpha: float = 0.1  # weight of the logit loss
    logit_temperature: float = 2.0  # temperature of the logit loss
    normalised: bool = True  # shift the teacher's logits to zero, and the student's by as much, in the logit loss
    teacher_weight: float = 0.0  # weight of the first head's distillation loss
    temperature: float = 4.0  # softens the probabilities of both in the distillation loss

    def __post_init__(self) -> None:
        check_range("heads", self.heads, at_least=1, at_most=2)
        check_range("alpha", self.alpha, at_least=0.0)
        check_range("logit_temperature", self.logit_temperature, above=0.0)
        check_range("teacher_weight", self.teacher_weight, at_least=0.0)
        check_range("temperature", self.temperature, above=0.0)


class DualHead(Method):
    """Learn from labels and from logits with separate heads.

    Args:
        config: the options.
        learner: the student, whose last layer is linear.
        teacher: a teacher with logits.
        sample: a few examples, to find the width of the head's input.
        seed: of the auxiliary head's initial weights.
    """

    feed = ExampleFeed(unlabelled=True)

    def __init__(self, config: Config, learner: Learner, teacher: Teacher, sample: Batch, seed: int = 0) -> None:
        self.config = config
        self.learner = learner
        self.teacher = teacher
        self.auxiliary_head: nn.Module | None = None
        self.scores(sample)
        if config.heads == 2:
            learner.tap(HIDDEN)
            output = learner(sample)
            self.auxiliary_head = projector(output.features[HIDDEN].shape[1:], output.logits.shape[1:], seed=seed)

    def scores(self, batch: Batch) -> Logits | Features:
        """The teacher's signal, which has logits."""
        signal = self.teacher.signal(batch)
        if isinstance(signal, Logits | Features) and signal.logits is not None:
            return signal
        raise TeacherError(
            f"The teacher's signal is {type(signal).__name__}, which has no logits; dual_head learns from the logits "
            "themselves, so give it a net, such as mlp:256,256 or runs/NAME."
        )

    def loss(self, batch: Batch) -> Terms:
        """`label` and `teacher` for the first head, `logits` for the auxiliary one."""
        config, output, signal = self.config, self.learner(batch), self.scores(batch)
        assert signal.logits is not None
        logits = output.logits if self.auxiliary_head is None else self.auxiliary_head(output.features[HIDDEN])
        logit_loss = binary_kl(
            logits,
            signal.logits,
            temperature=config.logit_temperature,
            normalised=config.normalised,
            trust=signal.trust,
        )
        terms = Terms(
            label=label_loss(output.logits, batch["label"], weight=batch.label_weight),
            logits=logit_loss.times(config.alpha),
        )
        if config.teacher_weight:
            softened = distillation_loss(output.logits, signal, temperature=config.temperature)
            terms["teacher"] = softened.times(config.teacher_weight)
        return terms

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """All examples for the teacher's terms (which never abstains), the labelled ones for the labels."""
        teacher = {"teacher": batch.size} if self.config.teacher_weight else {}
        return {"label": is_labelled(batch["label"]).sum(), "logits": batch.size, **teacher}


CLAIM = Claim(
    statement="A student that learns from labels and logits by two heads is more accurate than by distillation.",
    arms={
        "dual_head": "dual_head",
        "distill": "distill",
        "supervised": "supervised",
        "one head": {"method": "dual_head", "heads": 1},
        "untaught": {"method": "supervised", "lr": 1e-9},
    },
    method="dual_head",
    baseline="distill",
    cheap="supervised",
    ablation="one head",
    untaught="untaught",
    world="mnist1d",
    smallest_effect=0.01,
    settings={"test": 0.4, "steps": 400, "student": "mlp:64", "teacher": "cnn1d:16,32,16"},
    search={
        "dual_head": {"alpha": (0.1, 1.0), "lr": (0.01, 0.03)},
        "distill": {"temperature": (2.0, 4.0), "lr": (0.01, 0.03)},
        "supervised": {"lr": (0.01, 0.03)},
    },
    equal="steps",
    tuned_on=(0, 1, 2),
    seeds=(400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 419),
    shows="The logits of a teacher in a head of their own, against one head for both losses, and against distillation.",
    omits="Deep nets whose features collapse to a point a class, as in the paper's analysis; gradient alignment.",
    systems=("dual-head-knowledge-distillation",),
)
