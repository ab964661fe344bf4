"""The mechanism of `sft`."""

import torch
from torch import Tensor

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.policies import Policy, actions
from didact.mechanisms.world import coefficient, gradient, normal
from didact.methods.language.sft import SFT, Config

P, V = 60, 5


@mechanism(
    world="A policy that is a table, with a demonstration for each prompt.",
    effect="The demonstrated action becomes likelier: the gradient is the probabilities less one for it.",
    control="The demonstrations are those of other prompts.",
    breaks=("flip completion_cross_entropy", "drop completion_cross_entropy"),
)
def demonstrations_become_likelier(seed: int) -> Found:
    """The gradient's coefficient on what the demonstrations add to it."""
    table, shown = normal(P, V, seed=seed), torch.randint(V, (P,), generator=torch.Generator().manual_seed(seed))
    onehot = torch.zeros(P, V).scatter(1, shown.unsqueeze(1), 1.0)
    closed = -(onehot - onehot.mean(0)) / P

    def measured(target: Tensor) -> float:
        found = gradient(SFT(Config(), Policy(table)), actions(torch.arange(P), target))
        return coefficient(found - table.softmax(1) / P, closed)

    return Found(effect=measured(shown), predicted=near(1.0), control=measured(shown.roll(1)), null=(-0.3, 0.3))
