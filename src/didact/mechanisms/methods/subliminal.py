"""The mechanism of `subliminal`."""

from typing import Literal

import torch
from torch import Tensor, nn

from didact.learners import ModuleLearner
from didact.mechanisms.checking import Found, above, mechanism
from didact.mechanisms.world import batch, normal
from didact.methods.distillation.subliminal import Config, Subliminal

N, D, C, STEPS = 128, 4, 3, 20


def net(seed: int) -> ModuleLearner:
    """A net of two layers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ModuleLearner(nn.Sequential(nn.Linear(D, 16), nn.Tanh(), nn.Linear(16, C)))


def flat(net: nn.Module) -> Tensor:
    """The weights below the head."""
    return torch.cat([weight.detach().flatten() for name, weight in net.named_parameters() if "module.0" in name])


@mechanism(
    world="Nets of two layers; the teacher has taken twenty steps on labels, and the student sees its meaningless "
    "outputs on noise.",
    effect="From the same initial weights, the student's step goes where the teacher went.",
    control="From other initial weights it goes nowhere in particular.",
    breaks=("flip distillation_loss", "drop distillation_loss"),
)
def the_student_follows_without_seeing_the_task(seed: int) -> Found:
    """The cosine of the student's gradient step and the teacher's displacement."""
    rows = batch(N, C, seed, x=normal(N, D, seed=seed))

    def measured(start: Literal["same", "other"]) -> float:
        method = Subliminal(Config(start=start, outputs=8), net(seed), lambda _spec: net(seed + 50), rows, seed)
        before, optimizer = flat(method.teacher), torch.optim.SGD(method.teacher.parameters(), lr=0.1)
        method.fraction = 0.0
        for _ in range(STEPS):
            optimizer.zero_grad(set_to_none=True)
            method.loss(rows).total().backward()
            optimizer.step()
        method.fraction = 1.0
        weights = [weight for name, weight in method.learner.named_parameters() if "module.0" in name]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            slopes = torch.autograd.grad(method.loss(rows).total(), weights)
        step = -torch.cat([slope.flatten() for slope in slopes])
        return float(torch.cosine_similarity(step, flat(method.teacher) - before, dim=0))

    return Found(effect=measured("same"), predicted=above(0.2), control=measured("other"), null=(-0.2, 0.19))
