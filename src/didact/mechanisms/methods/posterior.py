"""The mechanism of `posterior`."""

import torch
from torch import Tensor

from didact.mechanisms.checking import Found, above, mechanism, near
from didact.mechanisms.policies import Policy, collected, every_action
from didact.mechanisms.world import gradient, normal, table_of
from didact.methods.language.posterior import Config, Posterior
from didact.types import Batch, Questions

P, V, BETA = 12, 5, 0.5


@mechanism(
    world="An initial policy that is an even table, and rewards of all actions.",
    effect="Training stops at the posterior, the initial policy times exp(reward / beta): there the gradient is zero.",
    control="At the initial policy it is not.",
    breaks=("shuffle posterior_log_ratio",),
)
def training_stops_at_the_posterior(seed: int) -> Found:
    """The size of the gradient."""
    reward = normal(P, V, seed=seed)

    def measured(table: Tensor) -> float:
        method = Posterior(Config(beta=BETA, divergence="reverse"), Policy(torch.zeros(P, V)), Questions(items=()))
        with torch.no_grad():
            table_of(method).copy_(table)
        batch = every_action(reward)
        now = table.log_softmax(1).flatten()
        batch = Batch({**batch, "log_probs": torch.stack([torch.zeros_like(now), now], 1)})
        return float(gradient(method, collected(method, batch), "policy").norm())

    return Found(
        effect=measured(reward / BETA), predicted=near(0.0), control=measured(torch.zeros(P, V)), null=above(0.05)
    )
