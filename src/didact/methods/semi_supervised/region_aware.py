"""RAIL: Region-Aware Instructive Learning (Zhao, Huang, Guo, Shen, Zhou, Liu & Yu 2025).

Two groups have two students and an average of the first each. The best of the four on the batch's labels instructs the
others: where one differs from it, it is held to the labels once more, and where it is also wrong, a third time. On
unlabelled pixels it learns the best one's sharpened answer, is made less certain where it differs, and learns the
sharpened answer of its group's average. That of the first group is delivered.

Departures: the groups learn from each batch at once, not in turns; the best student has the lowest cross-entropy, where
theirs has the lowest Dice loss, which is no sum over pixels and is left out; all students share an architecture unless
`other` names that of the second ones; theirs deliver the mean of four.

Compared with code/train_RAIL.py of Tournesol-Saturday/RAIL: masks, squared errors, their weights of 0.5, 20 and 10, the
temperature and the rise agree; two divergences there take a softmax twice, and are cross-entropies here. Values and
gradients: `tests/methods/test_maps.py::test_region_aware_learning_is_the_authors`.

On `canvas:masks` with 10 labels, it is better than a tuned `mean_teacher` by 11.3 points of mean IoU (5.9 to 16.7),
better than `supervised` by 10.2 (3.0 to 17.4), and better than itself without its mechanism ("labels alone") by 6.1
(2.6 to 9.6); a single run does not show that. Training takes 4.7 times the operations of the baseline.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from didact.claiming import Claim
from didact.errors import check_range
from didact.losses.features.distances import probability_mse
from didact.losses.labels.dividing import sharpen
from didact.losses.labels.supervised import cross_entropy, label_loss
from didact.teachers import EmaTeacher
from didact.types import Batch, ExampleFeed, Learner, Method, Terms, is_labelled

TEMPERATURE = 0.1


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `region_aware`."""

    differing: float = 0.5  # weight of the labels where a student differs from the best one
    wrong: float = 0.05  # weight of the labels where it is also wrong
    agreement: float = 20.0  # final weight of the best student's answers to unlabelled pixels
    damping: float = 0.1  # share of that weight for being uncertain where a student differs
    average: float = 0.5  # share of that weight for the average's answers to unlabelled pixels
    ramp_up: float = 0.375  # share of the budget over which these weights rise
    ema_decay: float = 0.99  # decay of both averages
    other: str = ""  # spec of the second students of both groups; by default the learner's

    def __post_init__(self) -> None:
        for name in ("differing", "wrong", "agreement", "damping", "average"):
            check_range(name, getattr(self, name), at_least=0.0, below=math.inf)
        check_range("ramp_up", self.ramp_up, at_least=0.0, at_most=1.0)
        check_range("ema_decay", self.ema_decay, above=0.0, below=1.0)


class RegionAware(Method):
    """Two groups of students that are instructed where they differ from the best one.

    Args:
        config: the options.
        learner: the first student of the first group.
        spawn: makes the others, with fresh weights.
    """

    feed = ExampleFeed(unlabelled=True, labelled_share=0.5, tasks=("classification", "segmentation"), coupled=True)

    def __init__(self, config: Config, learner: Learner, spawn: Callable[[str], nn.Module]) -> None:
        self.config, self.learner = config, learner
        self.others = nn.ModuleList(spawn(spec) for spec in (config.other, "", config.other))
        self.averages = [EmaTeacher(student, decay=config.ema_decay) for student in (learner, self.others[1])]

    @property
    def delivered(self) -> Learner:
        """The average of the first group."""
        return self.averages[0].learner

    def loss(self, batch: Batch) -> Terms:
        """The terms of the four students, numbered 0 to 3, of which 0 and 1 are the first group."""
        label, said = batch["label"], [student(batch).logits.float() for student in (self.learner, *self.others)]
        losses = torch.stack([label_loss(logits.detach(), label).sum for logits in said])
        self.place.sum([losses])
        best = losses.argmin()
        instructed = torch.stack([logits.detach() for logits in said])[best]
        averages = [average.learner(batch).logits.detach() for average in self.averages]
        terms = Terms()
        for number, logits in enumerate(said):
            found = self.instruct(logits, instructed, averages[number // 2], label, best == number)
            terms |= Terms({f"{name}_{number}": term for name, term in found.items()})
        return terms

    def instruct(self, logits: Tensor, best: Tensor, average: Tensor, label: Tensor, leads: Tensor) -> Terms:
        """The terms of a student, from the logits [B, C] of the best one, perhaps itself (bool []), and the average."""
        config, known, answer = self.config, is_labelled(label), logits.argmax(-1)
        differs = (answer != best.argmax(-1)).float()
        truth = F.one_hot(label.clamp(min=0), logits.shape[-1]).float()
        uniform = torch.full_like(logits, 1.0 / logits.shape[-1])
        corrected = torch.maximum(differs, leads.float()) * known
        missing = 1.0 - min(1.0, self.fraction / config.ramp_up) if config.ramp_up else 0.0
        rise = math.exp(-5.0 * missing**2)
        followed, averaged = (sharpen(one.softmax(-1), TEMPERATURE) for one in (best, average.float()))
        unlabelled, follows, follow = (~known).float(), (~known & ~leads).float(), rise * config.agreement
        return Terms(
            label=label_loss(logits, label),
            differing=probability_mse(logits, truth, trust=corrected).times(config.differing),
            wrong=cross_entropy(logits, label, trust=corrected * (answer != label)).times(config.wrong),
            agreement=probability_mse(logits, followed, trust=follows).times(follow),
            damping=cross_entropy(logits, uniform, trust=follows * differs).times(follow * config.damping),
            average=probability_mse(logits, averaged, trust=unlabelled).times(follow * config.average),
        )

    def after_step(self) -> None:
        """Update the average of each group's first student."""
        for average, student in zip(self.averages, (self.learner, self.others[1]), strict=True):
            average.update(student)


CLAIM = Claim(
    statement="Students that are corrected where they differ from the best one segment better than a mean teacher's.",
    arms={
        "region_aware": "region_aware",
        "mean_teacher": {"method": "mean_teacher", "labelled_share": 0.5},
        "supervised": "supervised",
        "labels alone": {"method": "region_aware", "differing": 0.0, "wrong": 0.0, "agreement": 0.0},
        "untaught": {"method": "supervised", "lr": 1e-9},
    },
    method="region_aware",
    baseline="mean_teacher",
    cheap="supervised",
    ablation="labels alone",
    untaught="untaught",
    world="canvas:masks",
    metric="mean_iou",
    smallest_effect=0.02,
    settings={"labels": 10, "test": 0.3, "steps": 100, "batch_size": 8, "student": "fcn:16,16", "lr": 0.02},
    search={
        "region_aware": {"agreement": (2.0, 20.0)},
        "mean_teacher": {"weight": (10.0, 100.0)},
        "supervised": {"augment": ("weak", "strong")},
    },
    equal="steps",
    tuned_on=(0, 1, 2),
    seeds=(1900, 1901, 1902, 1903, 1904, 1905, 1906, 1907, 1908, 1909),
    shows="Ten masks of small canvases, at equal steps (and several times the computation).",
    omits="Volumes, deep nets of two kinds, the Dice loss, and the mean of four students.",
    systems=("rail",),
)
