"""The mechanism of `ampo`."""

import torch
from torch import Tensor

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.policies import Policy, actions
from didact.mechanisms.world import coefficient, gradient, normal
from didact.methods.language.ampo import AMPO, Config
from didact.types import Questions

P, V, SHAPE = 40, 5, 0.1


@mechanism(
    world="A policy that is a table, with one completion and one advantage for each prompt.",
    effect="A teacher's token that is as likely as `shape` is learned most: its gradient weighs s p / (p + s)^2.",
    control="A token of its own is learned with its whole advantage, whatever its probability.",
    breaks=("flip policy_shaping_loss", "drop policy_shaping_loss"),
)
def unlikely_tokens_of_teachers_are_learned(seed: int) -> Found:
    """The gradient's coefficient on the closed form of a teacher's tokens."""
    table, advantage = 2.0 * normal(P, V, seed=seed), normal(P, seed=seed + 50)
    chosen = torch.randint(V, (P,), generator=torch.Generator().manual_seed(seed))
    probs = table.softmax(1)
    p = probs.gather(1, chosen.unsqueeze(1))
    error = probs.scatter_add(1, chosen.unsqueeze(1), -torch.ones(P, 1))
    closed = advantage.unsqueeze(1) * SHAPE * p / (p + SHAPE).square() * error / P
    old = torch.stack([torch.zeros(P), p.squeeze(1).log()], 1)

    def measured(own: float) -> float:
        method = AMPO(Config(shape=SHAPE), Policy(table), Questions(items=()), teachers=[Policy(table)])
        rows: dict[str, Tensor] = {"advantage": advantage, "log_probs": old, "own": torch.full((P,), own)}
        batch = actions(torch.arange(P), chosen, **rows, dead=torch.zeros(P), reward=advantage)
        return coefficient(gradient(method, batch, "policy"), closed)

    return Found(effect=measured(0.0), predicted=near(1.0), control=measured(1.0), null=(2.0, 40.0))
