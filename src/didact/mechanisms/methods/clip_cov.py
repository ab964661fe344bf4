"""The mechanism of `clip_cov`."""

import torch

from didact.mechanisms.checking import Found, above, mechanism, near
from didact.mechanisms.policies import Policy, actions
from didact.mechanisms.world import gradient, normal
from didact.methods.language.clip_cov import ClipCov, Config

P, V = 60, 5


@mechanism(
    world="A policy that is a table, with one action and one advantage for each prompt.",
    effect="Tokens whose log-probability and advantage vary together, which is what uses up entropy, have no gradient.",
    control="With a band in which no token lies, they have one.",
    breaks=("flip token_covariances", "shuffle token_covariances"),
)
def tokens_of_high_covariance_are_held(seed: int) -> Found:
    """The largest gradient among the tokens whose covariance is in the band."""
    table, advantage = 2.0 * normal(P, V, seed=seed), normal(P, seed=seed + 50)
    chosen = torch.multinomial(table.softmax(1), 1, generator=torch.Generator().manual_seed(seed)).squeeze(1)
    now = table.log_softmax(1).gather(1, chosen.unsqueeze(1)).squeeze(1)
    covariance = (now - now.mean()) * (advantage - advantage.mean())
    held = (covariance > 0.3) & (covariance < 100.0)
    old = torch.stack([torch.zeros(P), now], 1)
    batch = actions(torch.arange(P), chosen, advantage=advantage, log_probs=old, dead=torch.zeros(P), reward=advantage)

    def measured(low: float, high: float) -> float:
        method = ClipCov(Config(share=1.0, band_low=low, band_high=high), Policy(table))
        return float(gradient(method, batch, "policy")[held].norm(dim=1).max())

    return Found(effect=measured(0.3, 100.0), predicted=near(0.0), control=measured(1e6, 1e7), null=above(1e-3))
