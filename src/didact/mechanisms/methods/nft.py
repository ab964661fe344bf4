"""The mechanism of `nft`."""

import torch

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.policies import Policy, policy_gradient, shuffled
from didact.mechanisms.world import coefficient
from didact.methods.language.nft import NFT, Config

P, V = 40, 6


@mechanism(
    world="A policy that is an even table, of which a third of the actions are right.",
    effect="On rollouts of now, likelihood of right answers and unlikelihood of wrong ones have the gradient of "
    "advantages in standard deviations.",
    control="Right and wrong are shuffled among the actions of a prompt.",
    breaks=("flip nft_loss", "drop nft_loss", "shuffle nft_loss"),
)
def wrong_answers_teach_as_advantages_do(seed: int) -> Found:
    """The gradient's coefficient on that of normalised advantages."""
    right = shuffled(torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0, 0.0]).expand(P, V), seed)
    closed = -(right - right.mean(1, keepdim=True)) / right.std(1, unbiased=False, keepdim=True) / (P * V)

    def measured(paid: torch.Tensor) -> float:
        return coefficient(policy_gradient(NFT(Config(priority="scaled"), Policy(torch.zeros(P, V))), paid), closed)

    return Found(
        effect=measured(right), predicted=near(1.0), control=measured(shuffled(right, seed + 99)), null=(-0.3, 0.3)
    )
