"""The mechanism of `d3s`."""

from itertools import combinations
from typing import Literal

import torch

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.policies import Policy, actions
from didact.mechanisms.world import gradient, normal
from didact.methods.language.d3s import D3S, Config

P, V = 10, 4


@mechanism(
    world="Ten completions of one token with normal advantages, of which half are kept.",
    effect="Those are kept whose advantages vary most: as much as in the best of all 252 halves.",
    control="Random ones are kept.",
    breaks=("shuffle max_variance_subset",),
)
def what_is_kept_varies_most(seed: int) -> Found:
    """The variance of the advantages that are kept, over the largest there is."""
    advantage = normal(P, seed=seed)
    most = max(float(advantage[list(half)].var(unbiased=False)) for half in combinations(range(P), P // 2))
    old = torch.full((P, 2), -torch.tensor(float(V)).log().item())
    chosen = torch.zeros(P, dtype=torch.int64)
    batch = actions(torch.arange(P), chosen, advantage=advantage, log_probs=old, dead=torch.zeros(P), reward=advantage)

    def measured(choose: Literal["informative", "random"]) -> float:
        torch.manual_seed(seed)
        method = D3S(Config(completions=0.5, tokens=1.0, choose=choose), Policy(torch.zeros(P, V)))
        kept = gradient(method, batch, "policy").norm(dim=1) > 0
        return float(advantage[kept].var(unbiased=False)) / most

    return Found(effect=measured("informative"), predicted=near(1.0), control=measured("random"), null=(0.0, 0.9))
