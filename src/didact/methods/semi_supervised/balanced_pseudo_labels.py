"""Billion-scale semi-supervised learning: the best of each class, then the labels (Yalniz et al. 2019).

A teacher of the student's kind learns the labels. It then ranks the unlabelled examples by their probability of each
class, and the student learns the best of each class, as many of one as of another. Last, the student learns the labels.

Departures: the teacher's ranking is made while examples pass, and is whole after the first pass; the stages share one
budget and one learning-rate schedule.

Compared with no code, which the authors did not publish.

Formula: `tests/methods/test_confident_answers.py::test_balanced_pseudo_labels_rank_each_class`.

On `digits` with 40 labels, it is better than a tuned `supervised` by 2.1 points (1.2 to 3.1), worse than
`label_spreading` by 5.5 (4.1 to 6.9), and equivalent to itself without its mechanism ("surest of all") (+0.4, -0.1 to
+1.0). Training takes 7.9 times the operations of the baseline.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from didact.claiming import Claim
from didact.errors import ConfigError, check_range
from didact.losses.labels.gates import admitted_share, top_of_each_class
from didact.losses.labels.supervised import cross_entropy, label_loss
from didact.memory import PerExample
from didact.types import Batch, ExampleFeed, Learner, Method, Terms, is_labelled


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `balanced_pseudo_labels`."""

    per_class: int = 50  # unlabelled examples that are taken for each class
    classes_each: int = 1  # the most classes that one example is taken for
    balanced: bool = True  # whether as many are taken of each class; the surest answers of all are taken otherwise
    teacher_share: float = 0.3  # share of the budget that trains the teacher
    student_share: float = 0.4  # share of the budget in which the student learns pseudo-labels; labels get the rest

    def __post_init__(self) -> None:
        check_range("per_class", self.per_class, at_least=1)
        check_range("classes_each", self.classes_each, at_least=1)
        check_range("teacher_share", self.teacher_share, above=0.0, below=1.0)
        check_range("student_share", self.student_share, at_least=0.0, below=1.0)
        check_range("teacher_share + student_share", self.teacher_share + self.student_share, below=1.0)


class BalancedPseudoLabels(Method):
    """Pre-trains on a teacher's best answers of each class, and fine-tunes on the labels.

    Args:
        config: the options.
        learner: the student.
        spawn: makes the teacher, with fresh weights.
        sample: a few examples, to find the number of classes.
        size: the number of training examples.

    Raises:
        ConfigError: more examples are asked for than there are.
    """

    feed = ExampleFeed(unlabelled=True, labelled_share=0.5, coupled=True)

    def __init__(
        self, config: Config, learner: Learner, spawn: Callable[[str], nn.Module], sample: Batch, size: int
    ) -> None:
        classes = learner(sample).logits.shape[-1]
        if config.per_class > size:
            raise ConfigError(
                f"per_class is {config.per_class}, but there are {size} training examples; {size // classes} would "
                "take each for one class."
            )
        self.config, self.learner, self.model = config, learner, spawn("")
        self.ranking = PerExample(size, {"probs": (classes,)})

    def loss(self, batch: Batch) -> Terms:
        """First `teacher` over the labelled examples; then `pseudo` over the others; then `label`."""
        config = self.config
        if self.fraction < config.teacher_share:
            return Terms(teacher=label_loss(self.model(batch).logits, batch["label"], weight=batch.label_weight))
        logits = self.learner(batch).logits
        if self.fraction >= config.teacher_share + config.student_share:
            return Terms(label=label_loss(logits, batch["label"], weight=batch.label_weight))
        unlabelled = (~is_labelled(batch["label"])).float()
        taken = self.take(batch, unlabelled)
        weight = taken.sum(-1)
        target = taken / weight.clamp(min=1.0).unsqueeze(1)
        return Terms(
            pseudo=cross_entropy(logits, target, trust=unlabelled, weight=weight),
            admitted=admitted_share((weight > 0).float(), unlabelled),
        )

    def take(self, batch: Batch, unlabelled: Tensor) -> Tensor:
        """For which classes examples are taken, float [B, C]; ranks the unlabelled ones first."""
        with torch.no_grad():
            probs = self.model(batch).logits.float().softmax(-1) * unlabelled.unsqueeze(1)
        self.ranking.put(self.place.gather(batch["row"]), "probs", self.place.gather(probs))
        pool, classes = self.ranking.get_buffer("probs"), probs.shape[-1]
        if self.config.balanced:
            return top_of_each_class(probs, pool, self.config.per_class, self.config.classes_each)
        most = top_of_each_class(
            probs.amax(-1, keepdim=True), pool.amax(-1, keepdim=True), self.config.per_class * classes
        )
        return torch.zeros_like(probs).scatter(1, probs.argmax(-1, keepdim=True), most)


CLAIM = Claim(
    statement="As many pseudo-labels of each class, and then the labels, teach better than the labels alone.",
    arms={
        "balanced_pseudo_labels": {"method": "balanced_pseudo_labels", "batch_size": 80},
        "supervised": "supervised",
        "label_spreading": "label_spreading",
        "surest of all": {"method": "balanced_pseudo_labels", "balanced": False, "batch_size": 80},
        "untaught": {"method": "supervised", "lr": 1e-9},
    },
    method="balanced_pseudo_labels",
    baseline="supervised",
    cheap="label_spreading",
    ablation="surest of all",
    untaught="untaught",
    world="digits",
    smallest_effect=0.02,
    settings={"labels": 40, "steps": 200, "student": "mlp:128", "lr": 0.01},
    search={
        "balanced_pseudo_labels": {"per_class": (50, 100), "lr": (0.003, 0.01)},
        "supervised": {"lr": (0.001, 0.003, 0.01, 0.03)},
    },
    equal="last_stage",
    stages={
        "balanced_pseudo_labels": ("teacher_share", "student_share"),
        "surest of all": ("teacher_share", "student_share"),
    },
    tuned_on=(0, 1, 2),
    seeds=(560, 561, 562, 563, 564, 565, 566, 567, 568, 569, 570, 571),
    shows="Ranking by class, pre-training on the best of each, fine-tuning on the labels.",
    omits="A billion images, a teacher that is larger than the student, and images that serve several classes.",
    systems=("billion-scale-semi-supervised-learning-for-image",),
)
