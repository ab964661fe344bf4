"""Teacher-Reviewer-Student: a second, slower average reviews what the first one teaches (Yun, Qi, Peng & Ma 2025).

The teacher is the average of the student's weights. The reviewer is the average of the teacher's, and so remembers what
the student was longer ago. The student learns the labels from a weak view, and from a strong one where there are none;
of all examples it learns the probabilities of both on a weak view (squared error). The teacher is delivered.

Departures: inferred from the abstract and a summary, as neither formulas nor code were at hand: which weights the
reviewer averages, and its decay. Classes of examples or pixels in the place of heat maps of key points; heads on
several stages of the net and the mixing of key points are left out. Weight and rise are those of `mean_teacher`.

Compared with no code: none of the authors' is public.

Formula: `tests/methods/test_teacher_reviewer.py::test_teacher_and_reviewer_are_two_consistencies`.

On `canvas:masks` with 10 labels, it is undecided against a tuned `mean_teacher` (-1.1 points of mean IoU, -3.8 to
+1.6), better than `supervised` by 13.5 (4.0 to 23.0), and undecided against itself without its mechanism ("no
reviewer") (-0.9, -2.4 to +1.6).
"""

import math
from dataclasses import dataclass

from torch import Tensor

from didact.claiming import Claim
from didact.errors import check_range
from didact.losses.features.distances import probability_mse
from didact.losses.labels.supervised import label_loss
from didact.teachers import AveragingMethod, EmaTeacher
from didact.types import Batch, ExampleFeed, Learner, Logits, Terms, is_labelled


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of `teacher_reviewer`."""

    ema_decay: float = 0.99  # decay of the teacher, an average of the student
    review_decay: float = 0.99  # decay of the reviewer, an average of the teacher
    weight: float = 100.0  # final weight of what the teacher says
    review: float = 1.0  # weight of what the reviewer says, relative to that
    ramp_up: float = 0.27  # share of the budget over which both weights rise

    def __post_init__(self) -> None:
        check_range("ema_decay", self.ema_decay, above=0.0, below=1.0)
        check_range("review_decay", self.review_decay, above=0.0, below=1.0)
        check_range("weight", self.weight, at_least=0.0, below=math.inf)
        check_range("review", self.review, at_least=0.0, below=math.inf)
        check_range("ramp_up", self.ramp_up, at_least=0.0, at_most=1.0)


class TeacherReviewer(AveragingMethod):
    """Teach a student by the average of its weights and by the average of those averages.

    Args:
        config: the options.
        learner: the student.
    """

    feed = ExampleFeed(
        unlabelled=True,
        labelled_share=0.25,
        views={"weak": "weak", "strong": "strong"},
        tasks=("classification", "segmentation"),
    )

    def __init__(self, config: Config, learner: Learner) -> None:
        super().__init__(learner, config.ema_decay)
        self.config = config
        self.reviewer = EmaTeacher(learner, decay=config.review_decay)

    def loss(self, batch: Batch) -> Terms:
        """`label` over the labelled examples, `teacher` and `reviewer` over all of them."""
        config, known = self.config, is_labelled(batch["label"])
        logits = self.learner(batch.either(known, "weak", "strong")).logits
        missing = 1.0 - min(1.0, self.fraction / config.ramp_up) if config.ramp_up else 0.0
        weight = config.weight * math.exp(-5.0 * missing**2)
        said = [one.signal(batch.view("weak")) for one in (self.teacher, self.reviewer)]
        followed = [probability_mse(logits, one.logits.softmax(-1)) for one in said if isinstance(one, Logits)]
        return Terms(
            label=label_loss(logits, batch["label"], weight=batch.label_weight),
            teacher=followed[0].times(weight),
            reviewer=followed[1].times(weight * config.review),
        )

    def after_step(self) -> None:
        """Update the teacher, then the reviewer."""
        super().after_step()
        self.reviewer.update(self.teacher.learner)

    def counts(self, batch: Batch) -> dict[str, Tensor | float]:
        """The labelled examples for the labels, all of them for what both say."""
        return {"label": is_labelled(batch["label"]).sum(), "teacher": batch.size, "reviewer": batch.size}


CLAIM = Claim(
    statement="A student that an average of averages teaches too segments better than one with a single average.",
    arms={
        "teacher_reviewer": {"method": "teacher_reviewer", "labelled_share": 0.5},
        "mean_teacher": {"method": "mean_teacher", "labelled_share": 0.5},
        "supervised": {"method": "supervised", "augment": "strong"},
        "no reviewer": {"method": "teacher_reviewer", "review": 0.0, "labelled_share": 0.5},
        "untaught": {"method": "supervised", "lr": 1e-9},
    },
    method="teacher_reviewer",
    baseline="mean_teacher",
    cheap="supervised",
    ablation="no reviewer",
    untaught="untaught",
    world="canvas:masks",
    metric="mean_iou",
    smallest_effect=0.02,
    settings={"labels": 10, "test": 0.3, "steps": 100, "batch_size": 8, "student": "fcn:16,16", "lr": 0.02},
    search={
        "teacher_reviewer": {"weight": (3.0, 30.0)},
        "mean_teacher": {"weight": (3.0, 30.0)},
    },
    equal="steps",
    tuned_on=(0, 1, 2),
    seeds=(940, 941, 942, 943, 944, 945, 946, 947, 948, 949),
    shows="What a second, slower average adds, with ten masks of small canvases.",
    omits="Poses, heat maps, heads on several stages, mixed key points, and long training.",
    systems=("a-new-teacher-reviewer-student-framework-for-sem",),
)
