"""Contrastive Representation Distillation (Tian, Krishnan & Isola 2020).

Student's and teacher's representations of an example, mapped linearly to a sphere, are told from those of others by
noise-contrastive estimation, which bounds their mutual information. A memory bank gives thousands of negatives.

Departures: all examples of a step have the same negatives (theirs: 16384 for each). It is the paper's "CRD+KD"; `alpha`
0 is CRD. Compared with crd/ of HobbitLong/RepDistiller: banks (used, then updated), the normaliser (of the first step),
sharpness, momentum and weight agree: `tests/losses/test_contrastive.py::test_it_matches_the_papers_critic`.

On `mnist1d` with 300 labels, it is equivalent to a tuned `distill` (-0.2 points, -0.7 to +0.3). Training takes 187
times the operations of the baseline.
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
        mine = learner(sample).features[config.student_tap]
        theirs = target_features(teacher.signal(sample), config.teacher_tap)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.student_side, self.teacher_side = (_Side(z[0].numel(), size, config) for z in (mine, theirs))

    def contrastive_loss(self, batch: Batch, mine: Tensor, signal: Signal) -> Term:
        """The student against the teacher's bank, and the other way round; then updates the banks."""
        check_pairs(mine)
        sides = self.student_side, self.teacher_side
        shown = mine, target_features(signal, self.config.teacher_tap)
        embedded = [self.place.gather(side(z)) for side, z in zip(sides, shown, strict=True)]
        at, trust = self.place.gather(batch["row"]), self.place.gather(signal.trust)
        others, left_out = self.student_side.bank.others(at, self.config.negatives)
        terms, options = [], {"temperature": self.config.sharpness, "left_out": left_out}
        for anchors, side, own in zip(embedded[::-1], sides, embedded, strict=True):
            positives, negatives = side.bank.get(at, "embedding"), side.bank.get(others, "embedding")
            log_z = side.log_normaliser
            if self.step == 0:
                log_z.copy_(nce_log_normaliser(anchors, negatives, **options))
            terms.append(nce_loss(anchors, positives, negatives, log_normaliser=log_z, trust=trust, **options))
            side.bank.move(at, own)
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
    statement="A student that also matches features by contrast is more accurate than by distillation alone.",
    arms={
        "contrastive_distillation": "contrastive_distillation",
        "distill": "distill",
        "no contrast": {"method": "contrastive_distillation", "weight": 0.0},
        "untaught": {"method": "supervised", "lr": 1e-9},
    },
    method="contrastive_distillation",
    baseline="distill",
    cheap="distill",
    ablation="no contrast",
    untaught="untaught",
    world="mnist1d",
    smallest_effect=0.01,
    settings={"labels": 300, "test": 0.4, "steps": 400, "student": "mlp:64", "teacher": "cnn1d:16,32,16"},
    search={
        "contrastive_distillation": {"weight": (0.2, 0.8), "lr": (0.01, 0.03)},
        "distill": {"temperature": (2.0, 4.0), "lr": (0.01, 0.03)},
    },
    equal="steps",
    tuned_on=(0, 1, 2),
    seeds=(400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 419),
    shows="The contrastive term against a bank of all training examples, in addition to the same probabilities.",
    omits="Images, many classes and deep nets. A bank of tens of thousands of examples.",
)
