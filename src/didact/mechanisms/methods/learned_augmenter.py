"""The mechanism of `learned_augmenter`."""

import torch
from torch import Tensor

from didact.mechanisms import world
from didact.mechanisms.checking import Found, mechanism, near
from didact.methods.semi_supervised.learned_augmenter import Config, LearnedAugmenter
from didact.types import Batch, Terms

N, D, C = 12, 6, 3
RATE = 3.0


def slope(method: LearnedAugmenter, terms: Terms) -> Tensor:
    """The gradient of the augmenters, as one vector."""
    return torch.cat(
        [one.flatten() for one in torch.autograd.grad(terms.total(), list(method.augmenters.parameters()))]
    )


@mechanism(
    world="Table students, whose representations after a step of gradient descent are known.",
    effect="The augmenters' gradient is that of the contrasts after this step.",
    control="With a step of length 0 it is that of the present ones.",
    breaks=("bypass step_ahead",),
)
def augmenters_learn_at_the_weights_ahead(seed: int) -> Found:
    """How far their gradient has moved from that of the present representations to that of the next ones."""
    rows = torch.arange(N)
    shown = Batch({**world.batch(N, C, seed), "first.row": rows, "second.row": rows})

    def made(rate: float) -> tuple[LearnedAugmenter, Terms]:
        method = LearnedAugmenter(Config(rate=rate), world.student(world.normal(N, D, seed=seed), C, seed), seed)
        return method, method.loss(shown)

    method, terms = made(0.0)
    table = world.table_of(method)
    own = Terms({name: term for name, term in terms.items() if term.group == "student"})
    ahead = table - RATE * torch.autograd.grad(own.total(), [table])[0]
    at = [slope(method, method.contrasts("own", one.detach(), one.detach(), 1.0)) for one in (table, ahead)]

    def measured(rate: float) -> float:
        method, terms = made(rate)
        told = Terms({name: term for name, term in terms.items() if term.group == "augmenters"})
        return world.coefficient(slope(method, told) - at[0], at[1] - at[0])

    return Found(effect=measured(RATE), predicted=near(1.0, 1e-2), control=measured(0.0), null=near(0.0))
