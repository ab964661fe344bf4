"""The mechanism of `online_dpo`."""

import torch
from torch import Tensor

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.policies import Policy, collected, every_action, shuffled
from didact.mechanisms.world import coefficient, gradient, normal
from didact.methods.language.online_dpo import Config, OnlineDPO

P, V, BETA = 40, 5, 0.4


@mechanism(
    world="A policy that is an even table, and equal to its reference.",
    effect="Of each prompt's rollouts the best rises and the worst falls, by beta / 2 each.",
    control="The rewards are shuffled among the actions of a prompt.",
    breaks=("flip dpo_loss", "drop dpo_loss", "shuffle extremes_of_groups"),
)
def the_best_rises_and_the_worst_falls(seed: int) -> Found:
    """The gradient's coefficient on the closed form."""
    reward, rows = normal(P, V, seed=seed), torch.arange(P)
    closed = torch.zeros(P, V)
    closed[rows, reward.argmax(1)], closed[rows, reward.argmin(1)] = -BETA / 2 / P, BETA / 2 / P

    def measured(paid: Tensor) -> float:
        method = OnlineDPO(Config(objective="dpo", beta=BETA), Policy(torch.zeros(P, V)))
        return coefficient(gradient(method, collected(method, every_action(paid)), "preference"), closed)

    return Found(
        effect=measured(reward), predicted=near(1.0), control=measured(shuffled(reward, seed)), null=(-0.4, 0.4)
    )
