"""The mechanism of `rloo`."""

import torch

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.policies import Policy, policy_gradient, shuffled
from didact.mechanisms.world import coefficient, normal
from didact.methods.language.rloo import RLOO, Config

P, V = 40, 5


@mechanism(
    world="A policy that is an even table; prompts differ in how much all of their actions earn.",
    effect="A completion is paid by what it earns above the mean of the others of its prompt: V / (V - 1) times what "
    "it earns above the mean of all of them, whatever the prompt pays.",
    control="The rewards are shuffled among the actions of a prompt.",
    breaks=("flip RLOO.loss", "drop RLOO.loss"),
)
def completions_are_compared_with_the_others_of_their_prompt(seed: int) -> Found:
    """The gradient's coefficient on the rewards less their mean."""
    reward = normal(P, V, seed=seed)
    reward = reward - reward.mean(1, keepdim=True)
    paid_more = 10.0 * normal(P, 1, seed=seed + 9)
    closed = -reward / (P * V)

    def measured(paid: torch.Tensor) -> float:
        return coefficient(policy_gradient(RLOO(Config(), Policy(torch.zeros(P, V))), paid + paid_more), closed)

    return Found(
        effect=measured(reward), predicted=near(V / (V - 1)), control=measured(shuffled(reward, seed)), null=(-0.3, 0.3)
    )
