"""The mechanism of `mean_teacher`."""

import torch
from torch import nn

from didact.learners import ModuleLearner
from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.world import batch, normal
from didact.methods.semi_supervised.mean_teacher import Config, MeanTeacher

STEPS = 12
SETTLED = 100
"""Steps after which the decay no longer rises."""


@mechanism(
    world="A linear student whose weights jump from zero to one, and then stay.",
    effect="After k steps the teacher is 1 - d^k of the way: an exponential average of the student's past.",
    control="With hardly any decay the teacher is the student.",
    breaks=("skip AveragingMethod.after_step",),
)
def the_teacher_is_an_average_of_the_past(seed: int) -> Found:
    """The teacher's share of the student's weights."""

    def measured(decay: float) -> float:
        learner = ModuleLearner(nn.Linear(3, 2, bias=False))
        weight = learner.get_parameter("module.weight")
        with torch.no_grad():
            method = MeanTeacher(Config(ema_decay=decay), learner)
            for steps, value in ((SETTLED, 0.0), (STEPS, 1.0 + seed)):
                weight.fill_(value)
                for _ in range(steps):
                    method.after_step()
        return float(method.teacher.learner.get_parameter("module.weight").mean()) / (1.0 + seed)

    return Found(effect=measured(0.9), predicted=near(1.0 - 0.9**STEPS), control=measured(1e-9), null=near(1.0))


@mechanism(
    world="A linear student on two views of the same rows.",
    effect="The student moves towards what the teacher says of the other view: the gradient is zero where they agree.",
    control="The views are of different rows.",
    breaks=("flip probability_mse", "drop probability_mse"),
)
def the_student_agrees_with_the_teacher_on_another_view(seed: int) -> Found:
    """The consistency term."""
    x = normal(16, 3, seed=seed)

    def measured(second: torch.Tensor) -> float:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            learner = ModuleLearner(nn.Linear(3, 4))
        method = MeanTeacher(Config(weight=1.0, ramp_up=0.0), learner)
        shown = batch(16, 4, seed, **{"first.x": x, "second.x": second})
        return float(method.loss(shown)["consistency"].mean().detach())

    return Found(effect=measured(x), predicted=near(0.0), control=measured(x.roll(1, 0)), null=(1e-3, 1.0))
