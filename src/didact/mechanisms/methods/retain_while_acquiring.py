"""The mechanism of `retain_while_acquiring`."""

import torch
from torch import Tensor, nn

from didact.learners import ModuleLearner
from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.world import batch
from didact.methods.distillation.retain_while_acquiring import Config, RetainWhileAcquiring
from didact.teachers import FrozenTeacher

N, C, RATE = 8, 3, 0.3


class Constant(nn.Module):
    """The same logits for all images."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(C))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C]."""
        return self.logits.expand(len(x), C)


class Two(nn.Module):
    """Logits for remembered images, whose pixels are negative, and others for all the rest."""

    def __init__(self, old: Tensor) -> None:
        super().__init__()
        self.old = nn.Parameter(old)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C]."""
        return torch.where(x.mean((1, 2, 3))[:, None] < 0, self.old, 10.0)


@mechanism(
    world="A student of one bias for each class, which a step on new images raises by a known length; remembered ones "
    "ask for less than that.",
    effect="Looking ahead, the student sees that the step overshoots, and what is remembered pulls it back.",
    control="Without the virtual step, the same images push it on.",
    breaks=("flip logit_l1", "drop logit_l1"),
)
def what_is_remembered_pulls_back_before_the_step_is_taken(seed: int) -> Found:
    """The gradient of the replay term, times the number of classes: the mean sign."""
    chance = torch.rand(C, generator=torch.Generator().manual_seed(seed))
    old = RATE / C * (0.1 + 0.8 * chance)

    def measured(rate: float) -> float:
        rows, learner = batch(N, C, seed, x=torch.zeros(N, 1, 4, 4)), ModuleLearner(Constant(), head=None)
        config = Config(rate=rate, generator_every=10, remember_every=10, noise=4, width=4)
        method = RetainWhileAcquiring(config, learner, FrozenTeacher(ModuleLearner(Two(old), head=None)), rows, seed)
        method.memory.put(x=-torch.ones(N, 1, 4, 4))
        method.step = 1
        (slope,) = torch.autograd.grad(method.loss(rows)["retain"].mean(), [learner.get_parameter("module.logits")])
        return float(slope.mean()) * C

    return Found(effect=measured(RATE), predicted=near(1.0), control=measured(0.0), null=near(-1.0))
