"""The mechanism of `simclr`."""

import torch
from torch import Tensor, nn

from didact.learners import ModuleLearner
from didact.mechanisms.checking import Found, above, mechanism
from didact.mechanisms.world import batch, normal
from didact.methods.self_supervised.simclr import Config, SimCLR

N, C, SHARED, NOISE, STEPS = 64, 3, 4, 12, 30
LOUD = 2.0
"""The standard deviation of the noise; that of the shared columns is 1."""


@mechanism(
    world="Two views of each row, which have 4 of 16 columns in common; the others are louder noise, new at each step.",
    effect="The representation keeps what the views share: most of its variance comes from those columns.",
    control="The second views are those of other rows.",
    breaks=("flip nt_xent", "drop nt_xent", "shuffle nt_xent"),
)
def what_the_views_share_is_kept(seed: int) -> Found:
    """The share of the representation's variance that comes from the columns in common."""
    shared, noises = normal(N, SHARED, seed=seed), LOUD * normal(STEPS, 2, N, NOISE, seed=seed + 50)

    def measured(shift: int) -> float:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            learner = ModuleLearner(nn.Sequential(nn.Linear(SHARED + NOISE, SHARED), nn.Linear(SHARED, C)))
        rows = batch(N, C, seed, x=torch.cat([shared, noises[0, 0]], 1))
        method = SimCLR(Config(width=4), learner, rows, seed)
        method.fraction = 0.0
        optimizer = torch.optim.Adam([*learner.parameters(), *method.projection.parameters()], lr=0.06)
        for first, second in noises:
            views = {
                "first.x": torch.cat([shared, first], 1),
                "second.x": torch.cat([shared.roll(shift, 0), second], 1),
            }
            optimizer.zero_grad(set_to_none=True)
            method.loss(batch(N, C, seed, **views)).total().backward()
            optimizer.step()
        return share_of_common(learner.get_parameter("module.0.weight").detach())

    return Found(effect=measured(0), predicted=above(0.7), control=measured(1), null=(0.0, 0.4))


def share_of_common(weight: Tensor) -> float:
    """The share of the outputs' variance, [outputs, columns]."""
    variance = weight.square().sum(0) * torch.tensor([1.0] * SHARED + [LOUD**2] * NOISE)
    return float(variance[:SHARED].sum() / variance.sum())
