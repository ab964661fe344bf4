"""The mechanism of `mastered_tokens`."""

import torch

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.policies import Policy, actions, collected
from didact.mechanisms.world import coefficient, gradient, normal
from didact.methods.language.mastered_tokens import Config, MasteredTokens

P, V, SURE = 30, 5, 7.0


@mechanism(
    world="A policy that is a table, sure of the right action of every prompt, which is sampled beside a wrong one.",
    effect="The right actions, which are mastered, move nothing: nothing of the policy gradient is left.",
    control="With a target of 0 nothing is left out: the gradient is that of the advantages.",
    breaks=("drop mastered_tokens",),
)
def what_is_mastered_is_not_learned_again(seed: int) -> Found:
    """The gradient's coefficient on the closed form, of right actions alone."""
    best = torch.randint(V, (P,), generator=torch.Generator().manual_seed(seed))
    table = 0.1 * normal(P, V, seed=seed)
    table[torch.arange(P), best] += SURE
    chosen, log_probs = torch.cat([best, (best + 1) % V]), table.log_softmax(1).gather(1, best[:, None])[:, 0]
    old = torch.zeros(2 * P, 2)
    old[:P, 1] = log_probs
    reward = torch.cat([torch.ones(P), torch.zeros(P)])
    batch = actions(torch.arange(P).repeat(2), chosen, reward=reward, log_probs=old, finished=torch.ones(2 * P).bool())
    # Of two rewards of 1 and 0, the advantage of the first is the square root of 1 / 2.
    closed = -(0.5**0.5) * (torch.nn.functional.one_hot(best, V) - table.softmax(1)) / P

    def measured(target: float) -> float:
        method = MasteredTokens(Config(target_entropy=target), Policy(table))
        right = collected(method, batch).select(torch.arange(P))
        return coefficient(gradient(method, right, "policy"), closed)

    return Found(effect=measured(0.2), predicted=near(0.0), control=measured(0.0), null=near(1.0))
