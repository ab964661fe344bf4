"""The mechanism of `hierarchical_exits`."""

import torch
from torch import nn

from didact.learners import ModuleLearner
from didact.mechanisms.checking import Found, above, mechanism, near
from didact.mechanisms.world import batch, normal
from didact.methods.distillation.hierarchical_exits import Config, HierarchicalExits

N, D, C = 24, 4, 3


def net(*widths: int, seed: int) -> ModuleLearner:
    """A chain of linear layers."""
    layers: list[nn.Module] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for width, following in zip((D, *widths), (*widths, C), strict=True):
            layers += [nn.Linear(width, following), nn.Tanh()]
    return ModuleLearner(nn.Sequential(*layers[:-1]))


@mechanism(
    world="Two nets that share their first layer, on normal rows.",
    effect="The early exit shapes the layers that the deeper one shares with it.",
    control="If exits train their heads alone, its loss does not reach them.",
    breaks=("drop label_loss",),
)
def the_early_exit_shapes_what_is_shared(seed: int) -> Found:
    """The size of the early loss's gradient at the shared layer."""
    rows = batch(N, C, seed, x=normal(N, D, seed=seed))

    def measured(guided: bool) -> float:
        config = Config(exits="deeper", guided=guided)
        method = HierarchicalExits(config, net(8, seed=seed), lambda _spec: net(8, 8, seed=seed + 1))
        shared = method.learner.get_parameter("module.0.weight")
        (found,) = torch.autograd.grad(method.loss(rows)["label_0"].mean(), [shared], allow_unused=True)
        return 0.0 if found is None else float(found.norm())

    return Found(effect=measured(True), predicted=above(1e-3), control=measured(False), null=near(0.0))
