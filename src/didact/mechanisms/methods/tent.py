"""The mechanism of `tent`."""

import torch
from torch import nn

from didact.learners import ModuleLearner
from didact.mechanisms import world
from didact.mechanisms.checking import Found, below, mechanism, near
from didact.methods.adaptation.tent import Config, Tent

N, D, C, STEPS = 32, 6, 4, 10


@mechanism(
    world="A net with layer normalisation before its head, on rows without labels.",
    effect="Its predictions become certain: their entropy falls, by the scale and the offset alone.",
    control="The head is zero, so that neither scale nor offset can make it more certain.",
    breaks=("flip prediction_entropy", "drop prediction_entropy"),
)
def predictions_become_certain(seed: int) -> Found:
    """The entropy after some steps, as a share of that before."""
    shown = world.batch(N, C, seed, x=world.normal(N, D, seed=seed))

    def measured(scale: float) -> float:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            head = nn.Linear(D, C)
            net = nn.Sequential(nn.Linear(D, D), nn.LayerNorm(D), head)
        with torch.no_grad():
            head.weight.mul_(scale)
            head.bias.mul_(scale)
        method = Tent(Config(), ModuleLearner(net))
        before = entropy(net, shown["x"])
        optimizer = torch.optim.Adam(method.parameters(), lr=0.1)
        for _ in range(STEPS):
            optimizer.zero_grad()
            total = method.loss(shown).total()
            total.backward()
            optimizer.step()
        return entropy(net, shown["x"]) / before

    return Found(effect=measured(1.0), predicted=below(0.9), control=measured(0.0), null=near(1.0))


def entropy(net: nn.Module, x: torch.Tensor) -> float:
    """The mean entropy of a net's predictions, in nats."""
    with torch.no_grad():
        return float(torch.distributions.Categorical(logits=net(x)).entropy().mean())
