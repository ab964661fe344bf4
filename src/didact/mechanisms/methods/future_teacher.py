"""The mechanism of `future_teacher`."""

import torch
from torch import nn

from didact.learners import ModuleLearner
from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.world import batch, normal
from didact.methods.semi_supervised.future_teacher import Config, FutureTeacher


@mechanism(
    world="A linear student at zero, whose gradient has a closed form, and a teacher that is its copy.",
    effect="Before the step the teacher has moved by (1 - d) · rate against the gradient of the loss.",
    control="Without a look ahead the teacher is where it was.",
    breaks=("bypass step_ahead",),
)
def the_teacher_moves_before_the_student_does(seed: int) -> Found:
    """The length of the teacher's move along the gradient, in units of the gradient's length."""
    size, classes, rate, decay = 16, 3, 0.3, 0.8
    x = normal(size, 4, seed=seed)
    shown = batch(size, classes, seed, **{"first.x": x, "second.x": x})
    told = nn.functional.one_hot(shown["label"], classes).float()
    gradient = (1.0 / classes - told).T @ x / size

    def measured(depth: int) -> float:
        learner = ModuleLearner(nn.Linear(4, classes, bias=False))
        nn.init.zeros_(learner.get_parameter("module.weight"))
        method = FutureTeacher(Config(depth=depth, rate=rate, ema_decay=decay), learner)
        method.teacher.warmup = False
        method.loss(shown)
        with torch.no_grad():
            moved = method.teacher.learner.get_parameter("module.weight")
            return float(-(moved * gradient).sum() / gradient.square().sum())

    return Found(effect=measured(1), predicted=near(rate * (1.0 - decay)), control=measured(0), null=near(0.0))
