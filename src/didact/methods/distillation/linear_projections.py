"""Linear Projections of Teacher Embeddings for Few-Class Distillation (Loo, Iliopoulos, Hu & Vee 2024).

With few classes, a teacher's probabilities carry little information. So each class is split into pseudo-subclasses
along the principal components of the teacher's representations of its members, after the directions that the teacher's
own head reads are projected out. The student learns to predict the subclass, too.

Departures: the student's probability of a subclass is that of the class, from its own head, times that of the subclass
within it, from a second head that is dropped afterwards; so the classes' probabilities are sums over subclasses, and
the student keeps its shape. A subclass's share in a class is the softmax of the standardised projections over a
temperature. The directions are estimated from batches of the first `gather` of the budget, in which the student is
plainly distilled, not beforehand. Embeddings belong to the teacher's likeliest class. Compared with no code: none is
public.

Formula: `tests/methods/test_linear_projections.py::test_the_loss_and_its_gradient_in_torch`.

On `digits:defects` with 200 labels, it is equivalent to a tuned `distill` (0.0 points, -0.3 to +0.4), and better than
`supervised` by 8.7 (7.5 to 10.0). Training takes 1.5 times the operations of the baseline.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from didact.claiming import Claim
from didact.errors import ConfigError, check_range
from didact.learners import HIDDEN, ClassDirections, ModuleLearner
from didact.losses.classes.subclasses import subclass_kl, subclass_log_probs
from didact.losses.labels.supervised import label_loss
from didact.losses.labels.targets import SoftTargetConfig, distillation_loss, target_features, target_probs
from didact.teachers import unwrap
from didact.types import Batch, Buffer, ExampleFeed, Method, Teacher, Terms, is_labelled


@dataclass(frozen=True, kw_only=True)
class Config(SoftTargetConfig):
    """Options of `linear_projections`."""

    subclasses: int = 4  # number of subclasses of each class
    sharpness: float = 1.0  # temperature of the split; lower values assign an example more to one subclass
    gather: float = 0.1  # first share of the budget, which estimates the directions
    weight: float = 1.0  # weight of the subclasses relative to the classes in the teacher's terms

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("subclasses", self.subclasses, at_least=2)
        check_range("sharpness", self.sharpness, above=0.0)
        check_range("gather", self.gather, above=0.0, below=1.0)
        check_range("weight", self.weight, at_least=0.0)


class LinearProjections(Method):
    """Learn pseudo-subclasses derived from a teacher's representations.

    Args:
        config: the options.
        learner: the student, whose last layer is linear.
        teacher: a teacher with features, whose last layer is linear.
        sample: a few examples, to find the shapes of the features.
        seed: of the second head's initial weights.

    Raises:
        ConfigError: the student or the teacher has no linear head, or the teacher's embedding is too narrow.
        TeacherError: the teacher has no features.
    """

    feed = ExampleFeed(unlabelled=True)

    def __init__(self, config: Config, learner: ModuleLearner, teacher: Teacher, sample: Batch, seed: int = 0) -> None:
        self.config, self.learner, self.teacher = config, learner, teacher
        teacher.tap(HIDDEN)
        output, theirs = learner(sample), target_features(teacher.signal(sample), HIDDEN)
        if output.hidden is None or theirs.ndim != 2:
            raise ConfigError(
                "The student or the teacher has no linear head with one vector [D] for each example before it, which "
                "linear_projections needs; take those whose last layer is linear, such as mlp:64,64 or cnn:16,32."
            )
        classes = output.logits.shape[-1]
        self.directions = ClassDirections(theirs.shape[-1], classes, config.subclasses)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.within = nn.Linear(output.hidden.shape[-1], classes * config.subclasses)
        self.settled = Buffer(False)

    def loss(self, batch: Batch) -> Terms:
        """`teacher` and `label`, as in `distill`; and `subclass`, once the directions are known."""
        config, signal, output = self.config, self.teacher.signal(batch), self.learner(batch)
        terms = Terms(
            teacher=distillation_loss(output.logits, signal, temperature=config.temperature).times(config.alpha),
            label=label_loss(output.logits, batch["label"], weight=batch.label_weight).times(1.0 - config.alpha),
        )
        theirs = target_features(signal, HIDDEN)
        probs = target_probs(signal, 1.0, classes=output.logits.shape[-1])
        if self.fraction < config.gather:
            self.directions.accumulate(self.place.gather(theirs), self.place.gather(probs.argmax(-1)))
            return terms
        target = subclass_log_probs(self.directions(theirs), temperature=config.sharpness)
        mine = self.within(output.hidden).view_as(target)
        terms["subclass"] = subclass_kl(mine, target, probs, trust=signal.trust).times(config.alpha * config.weight)
        return terms

    def after_step(self) -> None:
        """Estimate the directions, at the end of the share `gather` of the budget."""
        if self.fraction >= self.config.gather and not self.settled.value:
            head = getattr(getattr(unwrap(self.teacher), "learner", None), "head", None)
            self.directions.update(None if head is None else head.weight)
            self.settled.value = True

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """All examples for the teacher, the labelled ones for the labels."""
        return {"teacher": batch.size, "subclass": batch.size, "label": is_labelled(batch["label"]).sum()}


CLAIM = Claim(
    statement="With two classes, a student is more accurate with pseudo-subclasses than by distillation alone.",
    arms={
        "linear_projections": "linear_projections",
        "distill": "distill",
        "supervised": "supervised",
        "no subclasses": {"method": "linear_projections", "weight": 0.0},
        "untaught": {"method": "supervised", "lr": 1e-9},
    },
    method="linear_projections",
    baseline="distill",
    cheap="supervised",
    ablation="no subclasses",
    untaught="untaught",
    world="digits:defects",
    smallest_effect=0.02,
    settings={
        "labels": 200,
        "labelled_share": 0.5,
        "test": 0.3,
        "steps": 300,
        "student": "mlp:32",
        "teacher": "mlp:128,64",
        "teacher_epochs": 20,
    },
    search={
        "linear_projections": {"temperature": (1.0, 4.0), "lr": (0.003, 0.01)},
        "distill": {"temperature": (1.0, 4.0), "lr": (0.003, 0.01)},
        "supervised": {"lr": (0.003, 0.01)},
    },
    equal="steps",
    tuned_on=(0, 1, 2),
    seeds=(400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415),
    shows="Subclasses from a teacher's principal directions, where two classes hide kinds of defects and digits.",
    omits="Language models, text, and millions of unlabelled examples.",
    systems=("linear-projections-of-teacher-embeddings-for",),
)
