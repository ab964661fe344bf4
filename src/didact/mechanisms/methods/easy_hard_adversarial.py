"""The mechanism of `easy_hard_adversarial`."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from didact.mechanisms import world
from didact.mechanisms.checking import Found, mechanism, near
from didact.methods.adaptation.easy_hard_adversarial import Config, EasyHardAdversarial
from didact.types import Batch

N, D, C = 24, 24, 3
OF_CLASS = torch.eye(C).repeat(1, D // C)


def adapting(table: Tensor, seed: int, reversal: float = 0.1) -> tuple[EasyHardAdversarial, Batch]:
    """The method on a student that is a table, whose classes have features of their own; and all rows in both views."""
    rows, learner = torch.arange(N), world.student(table, C, seed)
    assert learner.head is not None
    with torch.no_grad():
        learner.head.weight.copy_(OF_CLASS)
        learner.head.bias.zero_()
    return EasyHardAdversarial(Config(reversal=reversal), learner, seed), Batch(
        {"id": rows, "weak.row": rows, "strong.row": rows}
    )


@mechanism(
    world="Table students, whose rows are split by how their answers vary under dropout.",
    effect="The features get the gradient of the classifier of parts, times -r (2 / (1 + exp(-10 p)) - 1).",
    control="Without reversal the parts send no gradient.",
    breaks=("flip cross_entropy", "drop cross_entropy", "bypass reversal_schedule"),
)
def the_gradient_of_the_parts_is_reversed(seed: int) -> Found:
    """The coefficient of the plain gradient in that which the features get."""

    def measured(reversal: float) -> float:
        method, shown = adapting(world.normal(N, D, seed=seed), seed, reversal=reversal)
        method.fraction = 0.3
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            found = world.gradient(method, shown, "part")
            torch.manual_seed(seed)
            part = method.judged(shown.view("weak"))[2]
        table = world.table_of(method)
        (plain,) = torch.autograd.grad(F.cross_entropy(method.classifier.layers(table), part), [table])
        return world.coefficient(found, plain)

    rise = 2.0 / (1.0 + math.exp(-3.0)) - 1.0
    return Found(effect=measured(2.0), predicted=near(-2.0 * rise), control=measured(0.0), null=near(0.0))


@mechanism(
    world="Every other row is so far on one side that dropout cannot change its answer.",
    effect="All the others have the higher variance, and are the upper part.",
    control="All rows are alike, so that half of the others are in the upper part.",
    breaks=("flip score_variance", "drop score_variance", "shuffle upper_part"),
)
def what_varies_is_told_apart(seed: int) -> Found:
    """The share of the other rows that are in the upper part."""
    near_boundary = world.normal(N, D, seed=seed)
    far = 100.0 * OF_CLASS[torch.arange(N) % C]

    def measured(far: Tensor) -> float:
        odd = torch.arange(N) % 2 == 1
        method, shown = adapting(torch.where(odd[:, None], near_boundary, far), seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            part = method.judged(shown.view("weak"))[2]
        return float(part[odd].double().mean())

    return Found(effect=measured(far), predicted=near(1.0), control=measured(near_boundary), null=(0.2, 0.8))
