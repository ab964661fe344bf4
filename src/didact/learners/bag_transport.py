"""A net over bags that moves instances to prototypes by optimal transport."""

import torch
from torch import Tensor, nn

from didact.errors import ConfigError, check_range
from didact.learners.bags import BagNet
from didact.learners.module import ModuleLearner

REGULARISATION, RELAXATION = 0.1, 1.0
"""Weights of the plan's entropy, and of the divergence of what prototypes get from equal parts."""
SETTLING, TURNS = 10, 6
"""Turns of scaling without and then with a gradient, after which a plan changes by a hundredth at most."""


def partial_plan(cost: Tensor, mass: float, kept: Tensor | None = None) -> Tensor:
    """How much of each instance is moved to each prototype, where only a part of all is moved, the cheapest first.

    Each instance has the same mass and can move no more. Prototypes get equal parts, but for a divergence that is
    weighed against the cost. What is not moved costs nothing. Rows and columns are scaled in turns, as in Ren et al.
    (2025), "OTSurv"; but each turn finds the scale of what stays, for which the authors' turns take hundreds.

    Args:
        cost: float [B, K, P] in [0, 1].
        mass: the part that is moved, in (0, 1].
        kept: bool [B, K], the instances that there are, at least one of each bag; all by default.

    Returns:
        float [B, K, P], 0 or more, which add up to 1 for each bag: the plan over the mass. The gradient flows through
        the last turns.
    """
    there = cost.new_ones(cost.shape[:2]) if kept is None else kept.to(cost.dtype)
    share, kernel = (there / there.sum(1, keepdim=True))[..., None], (-cost / REGULARISATION).exp()
    right = torch.ones_like(kernel[:, :1])
    stays = kernel.detach().sum(2, keepdim=True).mean(1, keepdim=True) * (1.0 - mass) / mass
    for turn in range(SETTLING + TURNS):
        with torch.set_grad_enabled(torch.is_grad_enabled() and turn >= SETTLING):
            left, stays = _left(kernel, right, share, stays, mass)
            right = (mass / cost.shape[2] / (kernel * left).sum(1, keepdim=True)) ** _POWER
            right = right / right.mean(2, keepdim=True)
    return _left(kernel, right, share, stays, mass)[0] * kernel * right / mass


_POWER = RELAXATION / (RELAXATION + REGULARISATION)


def _left(kernel: Tensor, right: Tensor, share: Tensor, stays: Tensor, mass: float) -> tuple[Tensor, Tensor]:
    """The scales of rows [B, K, 1] with which their sums are right, and that of what is not moved [B, 1, 1]."""
    moved = (kernel * right).sum(2, keepdim=True)
    if mass < 1.0:
        # A step of Newton's method on the logarithm, which also has the gradient of the solution.
        stays = stays.detach()
        over = (share * stays / (moved + stays)).sum(1, keepdim=True) - (1.0 - mass)
        slope = (share * moved * stays / (moved + stays).square()).sum(1, keepdim=True).detach()
        stays = stays * (-over / slope).clamp(-2.0, 2.0).exp()
    return share / (moved + stays), stays


class TransportBag(BagNet):
    """Moves the instances of a bag to prototypes, and adds up what arrives there by the weights of the prototypes.

    OTSurv of Ren et al. (2025): the cost is the distance of vectors whose least number is 0, over the largest of a bag.

    Args:
        instance: a net from instances [N, ...] to vectors [N, D].
        size: D.
        outputs: numbers that the head gives.
        prototypes: how many, P.
    """

    def __init__(self, instance: nn.Module, size: int, outputs: int, prototypes: int) -> None:
        super().__init__(instance, size, outputs, "mean")
        self.prototypes = nn.Parameter(torch.randn(prototypes, size))
        self.weights = nn.Linear(prototypes, 1)
        self.attention = nn.Identity()

    def plan(self, hidden: Tensor, kept: Tensor | None = None, mass: float = 1.0) -> Tensor:
        """What is moved where, float [B, K, P]; see `partial_plan`."""
        vectors, goals = (rows - rows.amin(-1, keepdim=True) for rows in (hidden, self.prototypes))
        cost = torch.cdist(vectors, goals.expand(len(vectors), -1, -1))
        seen = cost if kept is None else cost * kept[..., None]
        return partial_plan(cost / seen.amax((1, 2), keepdim=True), mass, kept)

    def attend(self, hidden: Tensor, kept: Tensor | None = None, mass: float = 1.0) -> Tensor:
        """The part of each instance in what is moved, float [B, K]; equal where all is moved."""
        return self.attention(self.plan(hidden, kept, mass).sum(2))

    def pool(self, hidden: Tensor, kept: Tensor | None = None, mass: float = 1.0) -> Tensor:
        """One vector for each bag, float [B, D]; see `BagNet` and `partial_plan`."""
        plan = self.plan(hidden, kept, mass)
        self.attention(plan.sum(2))  # for taps
        return self.pooled(self.weights(torch.einsum("bkp,bkd->bdp", plan, hidden))[..., 0])


def transport_bag_net(learner: ModuleLearner, prototypes: int) -> ModuleLearner:
    """Make a net over bags one that moves their instances to prototypes.

    Args:
        learner: as `bag_net` makes it, whose pooling is replaced.
        prototypes: how many.

    Raises:
        ConfigError: no prototype.
    """
    check_range("prototypes", prototypes, at_least=1)
    plain = learner.module
    assert isinstance(plain, BagNet)
    size, outputs = plain.head.in_features, plain.head.out_features
    return ModuleLearner(TransportBag(plain.instance, size, outputs, prototypes), head="head")


def transport_of(learner: ModuleLearner, method: str) -> TransportBag:
    """The net over bags in a learner.

    Raises:
        ConfigError: there is none that moves instances to prototypes.
    """
    if not isinstance(learner.module, TransportBag):
        raise ConfigError(
            f"{method} needs a student that moves the instances of a bag, and this one does not; give "
            "transport_bag:16:mlp:64."
        )
    return learner.module
