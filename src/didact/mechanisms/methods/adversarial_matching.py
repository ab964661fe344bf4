"""The mechanism of `adversarial_matching`."""

import torch
from torch.nn import functional as F

from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.world import batch, coefficient, gradient, normal, student, table_of
from didact.methods.adaptation.adversarial_matching import AdversarialMatching, Config

SIDE, PLACES = 4, 9


@mechanism(
    world="A table of scores of places for the pixels of two images, one of each domain.",
    effect="The scores get the gradient of the classifier of domains, times -r.",
    control="Without reversal the domains send no gradient.",
    breaks=("flip cross_entropy", "drop cross_entropy"),
)
def the_gradient_of_the_domains_is_reversed(seed: int) -> Found:
    """The coefficient of the plain gradient in that which the scores get."""
    count = 2 * SIDE**2
    frames = normal(2, 2, SIDE, SIDE, seed=seed)
    shown = batch(count, PLACES, seed, x=frames, domain=torch.arange(count) // SIDE**2)

    def measured(reversal: float) -> float:
        scores = student(normal(count, PLACES, seed=seed))
        method = AdversarialMatching(Config(reversal=reversal), scores, shown, seed)
        found, table = gradient(method, shown, "domain"), table_of(method)
        told = method.classifier.layers(table[shown["row"]])
        (plain,) = torch.autograd.grad(F.cross_entropy(told, shown["domain"]), [table])
        return coefficient(found, plain)

    return Found(effect=measured(1.5), predicted=near(-1.5), control=measured(0.0), null=near(0.0))
