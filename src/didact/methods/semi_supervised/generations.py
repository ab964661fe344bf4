"""Generations of students and teachers (Croitoru, Bogolin & Leordeanu 2017 and 2019).

The first teacher is an algorithm, which subtracts the still background from the frames of a clip, or else the labels.
Several students learn the best of its masks. Then the group is the next teacher, with the mean of their masks, and so
on. The first student is delivered.

Departures: labels are learned besides; the background is the median of the frames, where theirs is of principal
components (VideoPCA); a group's masks are chosen by how much the students agree, not by a net that was trained to
predict that; the best are those of a batch; students go on from their weights in a new generation.

Compared with README.md and lowRes-net.py of ioanacroi/unsup-learning-from-video: the choice of masks by the mean of
their non-zero pixels, the top 10 to 20% of them, and the squared error agree. Values and gradients:
`tests/methods/test_generations.py::test_a_group_learns_the_best_masks_of_its_teacher`.

On `canvas:moving` with 5 labels, it is worse than a tuned "first generation" by 2.8 points of mean IoU (1.1 to 8.4),
worse than `supervised` by 4.3 (0.1 to 12.0), and undecided against itself without its mechanism ("all masks") (+0.2,
-0.4 to +7.0); a single run does not show that.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from didact.claiming import Claim
from didact.errors import ConfigError, check_choice, check_range
from didact.losses.features.distances import probability_mse
from didact.losses.labels.gates import admitted_share
from didact.losses.labels.masks import agreement, best_share, moving_foreground, nonzero_means
from didact.losses.labels.supervised import label_loss
from didact.teachers import EmaTeacher
from didact.types import Batch, Buffer, ExampleFeed, Learner, Method, Terms, is_labelled


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `generations`."""

    first: Literal["labels", "algorithm"] = "labels"  # first teacher: the labels alone, or background subtraction
    generations: int = 3  # generations, each an equal share of the budget
    students: int = 2  # students of the group
    other: str = ""  # spec of all students but the first; by default the learner's
    kept: float = 0.2  # share of the masks that are learned
    weight: float = 1.0  # weight of the masks' loss
    frames: int = 1  # frames that each image has, one below the other; 3 or more for the algorithm
    contrast: float = 0.2  # difference from the background from which on a pixel surely moves

    def __post_init__(self) -> None:
        check_choice("first", self.first, ("labels", "algorithm"))
        for name in ("generations", "students"):
            check_range(name, getattr(self, name), at_least=1)
        check_range("frames", self.frames, at_least=3 if self.first == "algorithm" else 1)
        check_range("kept", self.kept, above=0.0, at_most=1.0)
        check_range("weight", self.weight, at_least=0.0, below=math.inf)
        check_range("contrast", self.contrast, above=0.0, at_most=1.0)


class Generations(Method):
    """A group of students that becomes the next teacher.

    Args:
        config: the options.
        learner: the first student.
        spawn: makes the others, with fresh weights.
        sample: a few images, for the number of classes.
    """

    feed = ExampleFeed(unlabelled=True, labelled_share=0.25, tasks=("segmentation",), coupled=True)

    def __init__(self, config: Config, learner: Learner, spawn: Callable[[str], nn.Module], sample: Batch) -> None:
        self.config = config
        self.learner = learner
        self.others = nn.ModuleList(spawn(config.other) for _ in range(config.students - 1))
        self.group = [EmaTeacher(student, decay=0.5) for student in (learner, *self.others)]
        self.generation = Buffer(0)
        if config.first == "algorithm":
            moving_foreground(sample["x"], config.frames, config.contrast)
            if (classes := learner(sample).logits.shape[-1]) != 2:
                raise ConfigError(
                    f"first is 'algorithm', which tells 2 classes of pixels, not {classes}; use 'labels'."
                )

    def loss(self, batch: Batch) -> Terms:
        """`label` and `mask` of each student, from 0; `admitted`, the share of images whose mask is learned."""
        label = batch["label"]
        probs, gate = self.lesson(batch)
        terms = Terms(admitted=admitted_share(gate, torch.ones_like(gate)))
        trust = gate.repeat_interleave(len(label) // len(gate))
        for number, student in enumerate((self.learner, *self.others)):
            logits = student(batch).logits
            mask = probability_mse(logits, probs, trust=trust).times(self.config.weight)
            terms |= Terms({f"label_{number}": label_loss(logits, label), f"mask_{number}": mask})
        return terms

    def lesson(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The masks of the present teacher, as in `teach`, and which images' are learned, float [B]."""
        probs, scores = self.teach(batch)
        unlabelled = ~is_labelled(batch["label"]).view(len(scores), -1).any(1)
        every = best_share(self.place.gather(scores), self.place.gather(unlabelled), self.config.kept)
        return probs, every[self.place.shard(range(len(every)))]

    @torch.no_grad()
    def teach(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The masks of the present teacher, float [B * H * W, C], and how good they are, float [B]; 0 for none."""
        if self.config.first == "algorithm" and not self.generation.value:
            mask = moving_foreground(batch["x"], self.config.frames, self.config.contrast)
            return torch.stack([1.0 - mask, mask], -1).flatten(0, -2), nonzero_means(mask)
        probs = torch.stack([teacher.learner(batch).logits.float().softmax(-1) for teacher in self.group])
        return probs.mean(0), agreement(probs.unflatten(1, (len(batch["x"]), -1))) * bool(self.generation.value)

    def after_step(self) -> None:
        """Where a generation ends, take the students as the next teacher."""
        reached = min(int(self.fraction * self.config.generations), self.config.generations - 1)
        if reached > self.generation.value:
            self.generation.value = reached
            for teacher, student in zip(self.group, (self.learner, *self.others), strict=True):
                teacher.learner.load_state_dict(student.state_dict())


CLAIM = Claim(
    statement="Students that learn the best masks of a group of students, and before of an algorithm, beat the first.",
    arms={
        "generations": {"method": "generations", "first": "algorithm", "frames": 4},
        "first generation": {"method": "generations", "first": "algorithm", "frames": 4, "generations": 1},
        "supervised": "supervised",
        "all masks": {"method": "generations", "first": "algorithm", "frames": 4, "kept": 1.0},
        "untaught": {"method": "supervised", "lr": 1e-9},
    },
    method="generations",
    baseline="first generation",
    cheap="supervised",
    ablation="all masks",
    untaught="untaught",
    world="canvas:moving",
    metric="mean_iou",
    smallest_effect=0.02,
    settings={"labels": 5, "test": 0.3, "steps": 100, "batch_size": 4, "student": "fcn:8,8", "lr": 0.03},
    search={"generations": {"weight": (1.0, 10.0)}, "first generation": {"weight": (1.0, 10.0)}},
    equal="steps",
    tuned_on=(0, 1, 2),
    seeds=(1900, 1901, 1902, 1903, 1904, 1905, 1906, 1907, 1908, 1909),
    shows="Background subtraction as the first teacher, the choice of its masks, and two generations of groups.",
    omits="Deep nets of several kinds, VideoPCA, a net that predicts how good a mask is, and no labels at all.",
    systems=("unsupervised-learning-of-foreground-object-detec", "unsupervised-learning-from-video-to-detect"),
)
