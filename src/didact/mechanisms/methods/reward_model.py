"""The mechanism of `reward_model`."""

import torch
from torch import Tensor

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.policies import Policy, actions
from didact.mechanisms.world import coefficient, gradient, normal
from didact.methods.language.reward_model import Config, RewardModel
from didact.types import Batch

P, V = 60, 4


@mechanism(
    world="A model that is a table, whose reward of an answer is one of its scores; a pair of answers for each prompt.",
    effect="The rewards of a pair move apart by how unlikely the preference was: the gradient is the probability of "
    "the other order under Bradley and Terry's model.",
    control="Which of the pair is chosen is decided by a coin.",
    breaks=("flip bradley_terry_loss", "drop bradley_terry_loss"),
)
def rewards_move_apart(seed: int) -> Found:
    """The gradient's coefficient on the closed form."""
    table = normal(2 * P, V, seed=seed)
    first, second = torch.arange(P), torch.arange(P, 2 * P)
    wrong = torch.sigmoid(table[second, 0] - table[first, 0]) / P
    closed = torch.zeros(2 * P, V)
    closed[first, 0], closed[second, 0] = -wrong, wrong

    def measured(chosen: Tensor, rejected: Tensor) -> float:
        answers = torch.zeros(P, dtype=torch.int64)
        other = actions(rejected, answers)
        batch = Batch({**actions(chosen, answers), **{f"rejected.{name}": tensor for name, tensor in other.items()}})
        return coefficient(gradient(RewardModel(Config(), Policy(table)), batch, "preference"), closed)

    coin = torch.rand(P, generator=torch.Generator().manual_seed(seed)) < 0.5
    control = measured(torch.where(coin, first, second), torch.where(coin, second, first))
    return Found(effect=measured(first, second), predicted=near(1.0), control=control, null=(-0.5, 0.5))
