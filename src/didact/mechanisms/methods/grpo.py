"""The mechanism of `grpo`."""

import torch

from didact.mechanisms.checking import Found, above, mechanism, near
from didact.mechanisms.policies import Policy, policy_gradient
from didact.mechanisms.world import coefficient, normal
from didact.methods.language.grpo import GRPO, Config

P, V = 12, 5


@mechanism(
    world="A policy that is an even table; rewards are in another unit for each prompt.",
    effect="Advantages are in standard deviations of their group, so that no unit and no level of the rewards counts.",
    control="Without the scale, prompts that pay ten times as much weigh ten times as much.",
    breaks=("flip GRPO._term", "drop GRPO._term"),
)
def groups_weigh_alike(seed: int) -> Found:
    """The gradient's coefficient on the closed form, of prompts that pay tenfold."""
    reward = normal(P, V, seed=seed)
    closed = -(reward - reward.mean(1, keepdim=True)) / reward.std(1, keepdim=True) / (P * V)

    def measured(scale: bool) -> float:
        method = GRPO(Config(scale=scale), Policy(torch.zeros(P, V)))
        return coefficient(policy_gradient(method, 10.0 * reward + 3.0), closed)

    return Found(effect=measured(True), predicted=near(1.0), control=measured(False), null=above(5.0))
