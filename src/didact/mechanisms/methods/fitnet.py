"""The mechanism of `fitnet`."""

import torch
from torch import nn

from didact.learners import ModuleLearner
from didact.losses.labels.targets import target_features
from didact.mechanisms.checking import Found, above, mechanism
from didact.mechanisms.world import batch, normal, train
from didact.methods.distillation.fitnet import Config, FitNet
from didact.teachers import FrozenTeacher

N, D, C = 64, 4, 3


def net(width: int, seed: int) -> ModuleLearner:
    """A net of two layers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ModuleLearner(nn.Sequential(nn.Linear(D, width), nn.Tanh(), nn.Linear(width, C)))


@mechanism(
    world="Two nets of two layers, the teacher's wider, on normal rows.",
    effect="In the first stage the student's layer comes to determine the teacher's hint, up to a linear map.",
    control="The student sees the hints of other rows.",
    breaks=("flip feature_mse", "drop feature_mse", "shuffle feature_mse"),
)
def hints_shape_the_students_layer(seed: int) -> Found:
    """The share of the hint's variance that the regressor explains."""
    x = normal(N, D, seed=seed)
    rows = batch(N, C, seed, x=x)

    def measured(shown: torch.Tensor) -> float:
        teacher = FrozenTeacher(net(6, seed + 9), view="shown")
        seen = batch(N, C, seed, x=x, **{"shown.x": shown})
        method = FitNet(Config(student_tap="0", teacher_tap="0"), net(5, seed), teacher, seen)
        train(method, seen, "hint", steps=80, rate=0.1)
        with torch.no_grad():
            hint = target_features(teacher.signal(rows), "0")
            guess = method.regressor(method.learner(rows).features["0"])
        return float(1.0 - (guess - hint).square().sum() / (hint - hint.mean(0)).square().sum())

    return Found(effect=measured(x), predicted=above(0.9), control=measured(x.roll(1, 0)), null=(-5.0, 0.5))
