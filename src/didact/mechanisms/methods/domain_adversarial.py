"""The mechanism of `domain_adversarial`."""

import math

import torch
from torch.nn import functional as F

from didact.mechanisms import world
from didact.mechanisms.checking import Found, mechanism, near
from didact.methods.adaptation.domain_adversarial import Config, DomainAdversarial

N, D, C = 24, 5, 3


@mechanism(
    world="Table students, half of whose rows are of another domain.",
    effect="The representation gets the gradient of the classifier of domains, times -r (2 / (1 + exp(-10 p)) - 1).",
    control="Without reversal the domains send no gradient.",
    breaks=("flip cross_entropy", "drop cross_entropy", "bypass reversal_schedule"),
)
def the_gradient_of_the_domains_is_reversed(seed: int) -> Found:
    """The coefficient of the plain gradient in that which the representation gets."""
    shown = world.batch(N, C, seed, domain=torch.arange(N) % 2)

    def measured(reversal: float) -> float:
        learner = world.student(world.normal(N, D, seed=seed), C, seed)
        method = DomainAdversarial(Config(reversal=reversal), learner, shown, seed)
        method.fraction = 0.3
        found = world.gradient(method, shown, "nuisance")
        table = world.table_of(method)
        told = method.classifier.layers(table[shown["row"]])
        (plain,) = torch.autograd.grad(F.cross_entropy(told, shown["domain"]), [table])
        return world.coefficient(found, plain)

    rise = 2.0 / (1.0 + math.exp(-3.0)) - 1.0
    return Found(effect=measured(2.0), predicted=near(-2.0 * rise), control=measured(0.0), null=near(0.0))
