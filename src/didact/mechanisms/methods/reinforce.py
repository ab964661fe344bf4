"""The mechanism of `reinforce`."""

import torch

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.policies import Policy, policy_gradient, shuffled
from didact.mechanisms.world import coefficient, normal
from didact.methods.language.reinforce import Config, Reinforce

P, V = 40, 5


@mechanism(
    world="A policy that is an even table, of which each action occurs as often as it is expected.",
    effect="The gradient is exact: minus the reward of an action less the mean, over the number of rollouts.",
    control="The rewards are shuffled among the actions of a prompt, which moves the policy nowhere in the mean.",
    breaks=("flip Reinforce.loss", "drop Reinforce.loss"),
)
def actions_are_paid_by_what_they_earn_above_the_mean(seed: int) -> Found:
    """The gradient's coefficient on the closed form."""
    reward = normal(P, V, seed=seed)
    reward = reward - reward.mean(1, keepdim=True)
    closed = -reward / (P * V)

    def measured(paid: torch.Tensor) -> float:
        return coefficient(policy_gradient(Reinforce(Config(), Policy(torch.zeros(P, V))), paid), closed)

    return Found(
        effect=measured(reward + 7.0), predicted=near(1.0), control=measured(shuffled(reward, seed)), null=(-0.3, 0.3)
    )
