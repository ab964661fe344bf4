"""The mechanism of `teacher_reviewer`."""

import torch
from torch import nn

from didact.learners import ModuleLearner
from didact.mechanisms.checking import Found, mechanism, near
from didact.methods.semi_supervised.teacher_reviewer import Config, TeacherReviewer

DECAY, SETTLED, STEPS = 0.8, 60, 6


@mechanism(
    world="A linear student whose weights jump from zero to one, and then stay.",
    effect="After k steps the teacher is 1 - d^k of the way, and the reviewer 1 - d^k (1 + k (1 - d)).",
    control="With hardly any decay of its own, the reviewer is the teacher.",
    breaks=("skip TeacherReviewer.after_step", "skip AveragingMethod.after_step"),
)
def the_reviewer_remembers_more_than_the_teacher(seed: int) -> Found:
    """The reviewer's share of the student's weights over the teacher's."""

    def measured(decay: float) -> float:
        learner = ModuleLearner(nn.Linear(3, 2, bias=False))
        weight = learner.get_parameter("module.weight")
        with torch.no_grad():
            method = TeacherReviewer(Config(ema_decay=DECAY, review_decay=decay), learner)
            for steps, value in ((SETTLED, 0.0), (STEPS, 1.0 + seed)):
                weight.fill_(value)
                for _ in range(steps):
                    method.after_step()
        both = (method.reviewer, method.teacher)
        mine, theirs = (float(one.learner.get_parameter("module.weight").mean()) for one in both)
        return mine / theirs

    left = DECAY**STEPS
    expected = (1.0 - left * (1.0 + STEPS * (1.0 - DECAY))) / (1.0 - left)
    return Found(effect=measured(DECAY), predicted=near(expected), control=measured(1e-9), null=near(1.0))
