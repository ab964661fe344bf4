"""The mechanism of `feature_pyramid`."""

import torch
from torch import Tensor, nn

from didact.learners import ModuleLearner
from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.world import Rows, batch, normal
from didact.methods.distillation.feature_pyramid import Config, FeaturePyramid
from didact.teachers import FrozenTeacher

N, CHANNELS, SIDE = 8, 6, 4


def learner(maps: Tensor) -> ModuleLearner:
    """Feature maps that are a table."""
    head = nn.Sequential(nn.Flatten(), nn.Linear(CHANNELS * SIDE * SIDE, 2))
    return ModuleLearner(nn.Sequential(Rows(maps), head), inputs=("row",))


@mechanism(
    world="Tables of feature maps; half of the images are normal, and the student is wrong about one kind.",
    effect="The student matches the teacher on normal images alone: what it makes of a defect is no loss.",
    control="It is wrong about the normal images.",
    breaks=("drop pyramid_matching",),
)
def defects_are_left_alone(seed: int) -> Found:
    """The loss where the student has the teacher's features on one kind of images, and none of them on the other."""
    rows = batch(N, 2, seed, x=torch.zeros(N, 1, SIDE, SIDE))
    label = torch.arange(N) % 2
    rows = type(rows)({**rows, "label": label})
    theirs, wrong = normal(N, CHANNELS, SIDE, SIDE, seed=seed), normal(N, CHANNELS, SIDE, SIDE, seed=seed + 50)

    def measured(kind: int) -> float:
        mine = torch.where((label == kind).view(-1, 1, 1, 1), wrong, theirs)
        method = FeaturePyramid(Config(taps=("0",)), learner(mine), FrozenTeacher(learner(theirs)), rows)
        return float(method.loss(rows)["match"].mean().detach())

    return Found(effect=measured(1), predicted=near(0.0), control=measured(0), null=(0.05, 10.0))
