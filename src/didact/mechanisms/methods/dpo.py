"""The mechanism of `dpo`."""

import torch
from torch import Tensor

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.policies import Policy, actions
from didact.mechanisms.world import coefficient, gradient
from didact.methods.language.dpo import DPO, Config
from didact.types import Batch

P, V, BETA = 60, 4, 0.4


def pairs(chosen: Tensor, rejected: Tensor) -> Batch:
    """A pair of actions for each prompt."""
    prompts = torch.arange(P)
    other = actions(prompts, rejected)
    return Batch({**actions(prompts, chosen), **{f"rejected.{name}": tensor for name, tensor in other.items()}})


@mechanism(
    world="A policy that is an even table, and equal to its reference; a pair of actions for each prompt.",
    effect="The chosen action rises and the rejected one falls, by beta / 2 each.",
    control="Which of the pair is chosen is decided by a coin.",
    breaks=("flip dpo_loss", "drop dpo_loss"),
)
def the_chosen_rises_and_the_rejected_falls(seed: int) -> Found:
    """The gradient's coefficient on the closed form."""
    generator = torch.Generator().manual_seed(seed)
    chosen, rejected = torch.rand(P, V, generator=generator).argsort(1)[:, :2].T
    coin = torch.rand(P, generator=generator) < 0.5
    rows = torch.arange(P)
    closed = torch.zeros(P, V)
    closed[rows, chosen], closed[rows, rejected] = -BETA / 2 / P, BETA / 2 / P

    def measured(first: Tensor, second: Tensor) -> float:
        method = DPO(Config(beta=BETA), Policy(torch.zeros(P, V)))
        return coefficient(gradient(method, pairs(first, second), "preference"), closed)

    return Found(
        effect=measured(chosen, rejected),
        predicted=near(1.0),
        control=measured(torch.where(coin, chosen, rejected), torch.where(coin, rejected, chosen)),
        null=(-0.4, 0.4),
    )
