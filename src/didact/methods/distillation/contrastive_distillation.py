"""Contrastive Representation Distillation (Tian, Krishnan & Isola 2020).

The student's and the teacher's representations of the same example, each mapped linearly to a sphere, are distinguished
from those of different examples by noise-contrastive estimation, whose loss is a lower bound on the mutual information
between the two. A memory bank keeps the embeddings of earlier examples, which gives thousands of negatives.

Departures: the negatives of a step are the same for all its examples, and the whole bank if it is small, while the
authors' code draws some for each. The student is also distilled, the paper's "CRD+KD" (`alpha` 0 removes that).

Compared with crd/memory.py and crd/criterion.py of HobbitLong/RepDistiller: the banks begin with random rows, whose
normaliser is then known (2.2 for the defaults), an example's row is used before it is updated, and the normaliser is
the mean of the first step, not the paper's; sharpness, momentum and weight are theirs. They have 16384 negatives, on
50,000 examples.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from didact.claiming import Claim
from didact.errors import check_range
from didact.learners import TapConfig
from didact.losses.combining import add_terms
from didact.losses.labels.supervised import label_loss
from didact.losses.labels.targets import SoftTargetConfig, distillation_loss, target_features
from didact.losses.pairs.contrastive import nce_log_normaliser, nce_loss
from didact.losses.pairs.relational import check_pairs
from didact.memory import EmbeddingBank
from didact.types import Batch, ExampleFeed, Learner, Method, Signal, Teacher, Term, Terms, is_labelled


@dataclass(frozen=True, kw_only=True)
class Config(TapConfig, SoftTargetConfig):
    """Options of `contrastive_distillation`."""

    width: int = 128  # width of the embeddings
    negatives: int = 4096  # negatives of each example, drawn from the bank if it holds more
    bank_momentum: float = 0.5  # momentum of an example's embedding in the bank
    sharpness: float = 0.07  # temperature of the inner products of embeddings
    weight: float = 0.8  # weight of the contrastive term

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("width", self.width, at_least=1)
        check_range("negatives", self.negatives, at_least=2)
        check_range("bank_momentum", self.bank_momentum, at_least=0.0, below=1.0)
        check_range("sharpness", self.sharpness, at_least=0.01, at_most=100.0)
        check_range("weight", self.weight, at_least=0.0, below=float("inf"))


class _Side(nn.Module):
    """The embedding of one net's features, its memory bank, and the normaliser of the comparisons with it."""

    log_normaliser: Tensor

    def __init__(self, features: int, size: int, config: Config) -> None:
        super().__init__()
        self.embed = nn.Linear(features, config.width)
        self.bank = EmbeddingBank(size, config.width, momentum=config.bank_momentum)
        self.register_buffer("log_normaliser", torch.zeros(()))

    def forward(self, features: Tensor) -> Tensor:
        return F.normalize(self.embed(features.flatten(1)).float(), dim=1)


class ContrastiveDistillation(Method):
    """Distil probabilities, and representations by contrast with other examples.

    Args:
        config: the options.
        learner: the student, with taps.
        teacher: a teacher with features.
        sample: a few examples, to find the widths of the features.
        size: the number of training examples.
        seed: of the embeddings' initial weights and the banks' first rows.
    """

    feed = ExampleFeed(unlabelled=True, least_batch=2, coupled=True)

    def __init__(
        self, config: Config, learner: Learner, teacher: Teacher, sample: Batch, size: int, seed: int = 0
    ) -> None:
        self.config, self.learner, self.teacher = config, learner, teacher
        learner.tap(config.student_tap)
        teacher.tap(config.teacher_tap)
        with torch.no_grad():
            mine = learner(sample).features[config.student_tap]
        theirs = target_features(teacher.signal(sample), config.teacher_tap)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.student_side = _Side(mine[0].numel(), size, config)
            self.teacher_side = _Side(theirs[0].numel(), size, config)

    def contrastive_loss(self, batch: Batch, mine: Tensor, signal: Signal) -> Term:
        """The student against the teacher's bank, and the other way round; then updates the banks."""
        check_pairs(mine)
        sides = self.student_side, self.teacher_side
        shown = mine, target_features(signal, self.config.teacher_tap)
        embedded = [self.place.gather(side(z)) for side, z in zip(sides, shown, strict=True)]
        at, trust = self.place.gather(batch["row"]), self.place.gather(signal.trust)
        others, left_out = self.student_side.bank.others(at, self.config.negatives)
        sharpness, terms = self.config.sharpness, []
        for anchors, side in ((embedded[0], sides[1]), (embedded[1], sides[0])):
            positives, negatives = side.bank.get(at, "embedding"), side.bank.get(others, "embedding")
            if self.step == 0:
                side.log_normaliser.copy_(
                    nce_log_normaliser(anchors, negatives, temperature=sharpness, left_out=left_out)
                )
            options = {"log_normaliser": side.log_normaliser, "temperature": sharpness, "trust": trust}
            terms.append(nce_loss(anchors, positives, negatives, left_out=left_out, **options))
        for side, z in zip(sides, embedded, strict=True):
            side.bank.move(at, z)
        return add_terms(terms)

    def loss(self, batch: Batch) -> Terms:
        """`contrast` and `teacher` over all examples, `label` over those that have one."""
        config = self.config
        signal, output = self.teacher.signal(batch), self.learner(batch)
        return Terms(
            contrast=self.contrastive_loss(batch, output.features[config.student_tap], signal).times(config.weight),
            teacher=distillation_loss(output.logits, signal, temperature=config.temperature).times(config.alpha),
            label=label_loss(output.logits, batch["label"], weight=batch.label_weight).times(1.0 - config.alpha),
        )

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """All examples for the teacher, the labelled ones for the labels."""
        return {"contrast": batch.size, "teacher": batch.size, "label": is_labelled(batch["label"]).sum()}


CLAIM = Claim(
    statement="A student that also matches representations by contrast is more accurate than by distillation alone.",
    arms={
        "contrastive_distillation": "contrastive_distillation",
        "distill": "distill",
        "supervised": "supervised",
        "every answer wrong": {"method": "contrastive_distillation", "teacher": "noisy:1.0:mlp:256,256"},
        "random teacher": {"method": "distill", "teacher": "random"},
        "label_spreading": "label_spreading",
    },
    method="contrastive_distillation",
    baseline="distill",
    cheap="label_spreading",
    settings={"labels": 100, "steps": 1000, "student": "mlp:32", "teacher": "mlp:256,256"},
    equal="steps",
    seeds=(100, 101, 102, 103, 104),
    shows="The contrastive term against a bank of all training examples, in addition to the same probabilities.",
    omits="The bank holds about a thousand examples of few classes, where the paper's has many more of both.",
)
