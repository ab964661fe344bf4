"""The mechanism of `hyperbolic_unknown`."""

import math

import torch
from torch import Tensor

from didact.mechanisms import world
from didact.mechanisms.checking import Found, mechanism, near
from didact.methods.adaptation.hyperbolic_unknown import Config, HyperbolicUnknown
from didact.types import IGNORE, Batch

NEAR, WIDE, FAR = 0.8, 0.3, 0.5
"""The length of the features of known classes, how far these spread, and the length of all others."""
EACH = 30


def batch_of(features: Tensor, label: Tensor) -> tuple[HyperbolicUnknown, Batch]:
    """The method on a student that is a table, and all rows."""
    rows = torch.arange(len(features))
    shown = Batch({"row": rows, "id": rows, "label": label})
    config = Config(curvature=1.0, longest=10.0, temperature=1.0)
    return HyperbolicUnknown(config, world.student(features, 4), shown), shown


@mechanism(
    world="Two known classes, each at one place, and unlabelled rows at distances that are known.",
    effect="The gradient pulls to the own class: of two classes in opposite directions the distance is 4 artanh.",
    control="Where both classes are in one place, there is nothing to pull to.",
    breaks=("drop ball_distances", "flip ball_distances"),
)
def classes_are_told_by_distances_in_the_ball(seed: int) -> Found:
    """The term `contrast`, in nats over log 2."""
    size = 0.3 + 0.1 * seed

    def measured(apart: float) -> float:
        side = torch.arange(2 * EACH) % 2
        features = torch.zeros(2 * EACH, 3)
        features[:, 0] = size * (1.0 - 2.0 * side * apart)
        method, shown = batch_of(features, side)
        return float(method.loss(shown)["contrast"].mean().detach()) / math.log(2.0)

    # In the ball of curvature 1 a point at x is at the distance 2 x from the centre.
    wanted = math.log1p(math.exp(-4.0 * size)) / math.log(2.0)
    return Found(effect=measured(1.0), predicted=near(wanted, 1e-2), control=measured(0.0), null=near(1.0, 1e-2))


@mechanism(
    world="Labelled rows around two places, and unlabelled ones of which half are as near to one, and half are not.",
    effect="Half of the unlabelled rows are learned as unknown objects.",
    control="Where all unlabelled rows are far away, none is.",
    breaks=("drop midpoint", "drop cross_entropy"),
)
def what_is_near_is_an_unknown_object(seed: int) -> Found:
    """The share of unlabelled rows whose gradient raises the output for unknown objects."""

    def measured(share: float) -> float:
        draws = torch.Generator().manual_seed(seed)
        side = torch.arange(2 * EACH) % 2
        spread = WIDE * torch.rand(2 * EACH, 1, generator=draws)
        known = torch.cat([NEAR * (1.0 - 2.0 * side[:, None]), spread, torch.zeros(2 * EACH, 1)], 1)
        like = known[torch.arange(2 * EACH)] * torch.tensor([1.0, 0.5, 1.0]) + torch.tensor([0.0, WIDE / 4, 0.0])
        far = torch.tensor([[0.0, 0.0, FAR]]).expand(2 * EACH, 3)
        rest = torch.where((torch.arange(2 * EACH) < share * 2 * EACH)[:, None], like, far)
        label = torch.cat([side, torch.full((2 * EACH,), IGNORE)])
        method, shown = batch_of(torch.cat([known, rest]), label)
        assert method.learner.head is not None
        (slope,) = torch.autograd.grad(method.loss(shown)["pseudo"].mean(), [method.learner.head.bias])
        with torch.no_grad():
            said = method.learner(shown).logits[2 * EACH :].softmax(1).mean(0)
        # The gradient of a bias is the mean probability minus the share of its class.
        return float(said[2] - slope[2])

    return Found(effect=measured(0.5), predicted=near(0.5, 1e-2), control=measured(0.0), null=near(0.0))
