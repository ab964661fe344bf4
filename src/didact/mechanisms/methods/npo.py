"""The mechanism of `npo`."""

import math

import torch

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.policies import Policy, actions
from didact.mechanisms.world import coefficient, gradient
from didact.methods.language.npo import NPO, Config
from didact.types import Question, Questions

P, V, BETA, GONE = 40, 5, 0.7, -6.0


@mechanism(
    world="A policy that is an even table; single actions to forget, whose log-ratios to the reference are known.",
    effect="An action that has become unlikely is hardly pushed down: by 2 sigmoid(beta r) of gradient ascent.",
    control="With a beta near 0, it is pushed down as if it were as likely as at first.",
    breaks=("flip npo_loss", "drop npo_loss"),
)
def what_is_forgotten_is_left_alone(seed: int) -> Found:
    """The gradient of forgotten actions, as a share of that of gradient ascent."""
    chosen = torch.randint(V, (P,), generator=torch.Generator().manual_seed(seed))
    gone = torch.rand(P, generator=torch.Generator().manual_seed(seed + 50)) < 0.5
    reference = torch.where(gone, -GONE, 0.0) - torch.tensor(float(V)).log()
    ascent = (torch.nn.functional.one_hot(chosen, V) - 1.0 / V) / P
    known = Questions(items=(Question(id=0, prompt="", completion="x", data={"forget": True}),))

    def measured(beta: float) -> float:
        batch = actions(torch.arange(P), chosen, forget=torch.ones(P), reference=reference)
        found = gradient(NPO(Config(beta=beta), Policy(torch.zeros(P, V)), known), batch)
        return coefficient(found[gone], ascent[gone])

    share = 2.0 / (1.0 + math.exp(-BETA * GONE))
    return Found(effect=measured(BETA), predicted=near(share), control=measured(1e-3), null=near(1.0, 0.01))
