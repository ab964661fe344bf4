"""The mechanism of `netdistiller`."""

import torch
from torch import nn

from didact.learners import ModuleLearner
from didact.mechanisms.checking import Found, below, mechanism, near
from didact.mechanisms.world import batch, normal
from didact.methods.distillation.netdistiller import Config, NetDistiller
from didact.types import Batch

N, D, C = 24, 4, 3


def net(seed: int) -> ModuleLearner:
    """A net of two layers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ModuleLearner(nn.Sequential(nn.Linear(D, 6), nn.ReLU(), nn.Linear(6, C)))


@mechanism(
    world="A tiny net within a wide one, and labels that the wide net holds for the least likely, so that it must go "
    "one way and the tiny net, which follows it, the other.",
    effect="What conflicts with the tiny net is projected out of the wide net's gradient: no more than a right angle.",
    control="Without surgery they point away from each other.",
    breaks=("bypass project_conflicts",),
)
def conflicts_are_projected_out(seed: int) -> Found:
    """The cosine of the wide net's gradient and the tiny net's, or zero if it is positive."""
    rows = batch(N, C, seed, x=normal(N, D, seed=seed))

    def measured(surgery: bool) -> float:
        method = NetDistiller(Config(weight=100.0, surgery=surgery), net(seed), rows, seed)
        with torch.no_grad():
            label = method.wide(rows).logits.argmin(1)
        terms, weights = method.loss(Batch({**rows, "label": label})), list(method.wide.parameters())
        kept, left = (torch.autograd.grad(terms[name].mean(), weights, retain_graph=True) for name in ("tiny", "wide"))
        both = [torch.cat([slope.flatten() for slope in slopes]) for slopes in (kept, left)]
        return min(0.0, float(torch.cosine_similarity(*both, dim=0)))

    return Found(effect=measured(True), predicted=near(0.0), control=measured(False), null=below(-0.02))
