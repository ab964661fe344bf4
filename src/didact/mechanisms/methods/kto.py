"""The mechanism of `kto`."""

import torch
from torch import Tensor

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.policies import Policy, actions
from didact.mechanisms.world import coefficient, gradient
from didact.methods.language.kto import KTO, Config
from didact.types import Questions

P, V, BETA = 80, 4, 0.4


@mechanism(
    world="A policy that is an even table, and equal to its reference; single actions that are good or bad.",
    effect="Good actions rise and bad ones fall, by beta / 4 each, without a pair.",
    control="The labels are shuffled among the prompts.",
    breaks=("flip kto_loss", "drop kto_loss"),
)
def single_labels_move_the_policy(seed: int) -> Found:
    """The gradient's coefficient on the closed form."""
    generator = torch.Generator().manual_seed(seed)
    chosen, good = torch.randint(V, (P,), generator=generator), torch.arange(P) % 2 == 0
    error = torch.full((P, V), 1.0 / V).scatter_add(1, chosen.unsqueeze(1), -torch.ones(P, 1))
    closed = BETA / 4 / P * error * torch.where(good, 1.0, -1.0).unsqueeze(1)

    def measured(label: Tensor) -> float:
        reference = torch.full((P,), -torch.tensor(float(V)).log().item())
        batch = actions(torch.arange(P), chosen, good=label, reference=reference, divergence=torch.zeros(P))
        method = KTO(Config(beta=BETA), Policy(torch.zeros(P, V)), Questions(items=()))
        return coefficient(gradient(method, batch), closed)

    order = torch.randperm(P, generator=generator)
    return Found(effect=measured(good), predicted=near(1.0), control=measured(good[order]), null=(-0.3, 0.3))
