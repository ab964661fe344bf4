"""The mechanism of `random_teachers`."""

import torch
from torch import nn

from didact.learners import ModuleLearner
from didact.mechanisms.checking import Found, above, mechanism, near
from didact.mechanisms.world import batch, normal
from didact.methods.distillation.random_teachers import Config, RandomTeachers

N, D, C = 32, 4, 3


def net(seed: int) -> ModuleLearner:
    """A net of two layers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ModuleLearner(nn.Sequential(nn.Linear(D, 8), nn.Tanh(), nn.Linear(8, C)))


@mechanism(
    world="A student and a random teacher of its kind, on normal rows.",
    effect="At the teacher's own weights the student has nothing to learn: the gradient is zero.",
    control="Away from it there is something, although the teacher knows nothing.",
    breaks=("skip init_near",),
)
def the_teacher_is_a_stationary_point(seed: int) -> Found:
    """The size of the gradient."""
    rows = batch(N, C, seed, x=normal(N, D, seed=seed))

    def measured(distance: float) -> float:
        config = Config(distance=distance, outputs=16, width=8, bottleneck=4)
        method = RandomTeachers(config, net(seed), lambda _spec: net(seed + 50), rows, seed)
        method.fraction = 0.0
        weights = [weight for name, weight in method.learner.named_parameters() if "module.0" in name]
        slopes = torch.autograd.grad(method.loss(rows)["teacher"].mean(), weights)
        return float(torch.cat([slope.flatten() for slope in slopes]).norm())

    return Found(effect=measured(0.0), predicted=near(0.0), control=measured(1.0), null=above(1e-4))
