"""The mechanism of `token_sinkhorn`."""

import torch
from torch import Tensor

from didact.mechanisms.checking import Found, below, mechanism
from didact.mechanisms.policies import Policy, actions
from didact.mechanisms.world import normal
from didact.methods.language.token_sinkhorn import Config, TokenSinkhorn
from didact.teachers import LanguageTeacher

P, V = 16, 5


@mechanism(
    world="A student and a teacher that are tables of sharp scores; the student has the teacher's predictions, but at "
    "other tokens.",
    effect="The distance is one of clouds of tokens: predictions that are all there, in another order, cost little.",
    control="The student predicts one token everywhere.",
    breaks=("drop token_sinkhorn", "flip token_sinkhorn"),
)
def neighbouring_tokens_are_compared_as_a_cloud(seed: int) -> Found:
    """The mean distance of a token."""
    theirs = 12.0 * normal(P, V, seed=seed)

    def measured(mine: Tensor) -> float:
        config = Config(nearest=V, group=P, regularisation=0.05, iterations=50)
        method = TokenSinkhorn(config, Policy(mine), LanguageTeacher(Policy(theirs)))
        batch = actions(torch.arange(P), torch.zeros(P, dtype=torch.int64))
        return float(method.loss(batch)["sinkhorn"].mean().detach())

    control = measured(theirs[:1].expand(P, V))
    return Found(effect=measured(theirs.roll(3, 0)), predicted=below(0.1), control=control, null=(0.3, 2.5))
