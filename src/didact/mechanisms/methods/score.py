"""The mechanism of `score`."""

import torch

from didact.losses.policy.two_turn import add_two_turn_advantages
from didact.mechanisms.checking import Found, above, mechanism, near
from didact.mechanisms.policies import Policy, actions
from didact.mechanisms.world import gradient
from didact.methods.language.score import Config, SCoRe

P, V = 12, 4


@mechanism(
    world="A policy that is a table with rows of their own for first and second answers, which are paid at random.",
    effect="In the first stage second answers alone learn, so that the two come apart.",
    control="In the second stage first answers learn, too.",
    breaks=("bypass two_turn_advantages",),
)
def first_answers_stand_still_in_the_first_stage(seed: int) -> Found:
    """The size of the gradient at the first answers."""
    generator = torch.Generator().manual_seed(seed)
    chosen, paid = torch.randint(V, (2 * P,), generator=generator), torch.rand(2 * P, generator=generator).round()
    old = torch.full((2 * P, 2), -torch.tensor(float(V)).log().item())
    batch = actions(torch.arange(2 * P), chosen, reward=paid, log_probs=old)
    batch = add_two_turn_advantages(type(batch)({**batch, "group": (torch.arange(2 * P) % P) // 3}))

    def measured(fraction: float) -> float:
        method = SCoRe(Config(early=0.5), Policy(torch.zeros(2 * P, V)))
        method.fraction = fraction
        return float(gradient(method, batch, "policy")[:P].norm())

    return Found(effect=measured(0.0), predicted=near(0.0), control=measured(1.0), null=above(0.01))
