"""Nets over bags of instances: each instance is encoded, the vectors are pooled, and a linear head reads the result."""

from typing import Literal

import torch
from torch import Tensor, nn

from didact.errors import ConfigError, check_choice
from didact.learners.module import ModuleLearner

Pooling = Literal["attention", "gated", "mean", "max"]
POOLINGS: dict[str, str] = {
    "attention": "weights from a small net with tanh, over all instances of the bag",
    "gated": "the same, times a sigmoid gate",
    "mean": "equal weights",
    "max": "the largest of each number",
}
"""How the vectors of a bag become one."""
ATTENTION = 128
"""The hidden width of the net that scores instances, D in the authors' model.py."""


class Scores(nn.Module):
    """The score of each instance of a bag, w tanh(V h), or w (tanh(V h) sigmoid(U h)) with a gate.

    Equations 8 and 9 of Ilse, Tomczak & Welling (2018), "Attention-based deep multiple instance learning".

    Args:
        size: numbers of an instance's vector.
        gated: whether there is a gate.
    """

    def __init__(self, size: int, *, gated: bool) -> None:
        super().__init__()
        self.value = nn.Linear(size, ATTENTION)
        self.gate = nn.Linear(size, ATTENTION) if gated else None
        self.score = nn.Linear(ATTENTION, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        """Float [B, K] of float [B, K, D]."""
        found = self.value(hidden).tanh()
        if self.gate is not None:
            found = found * self.gate(hidden).sigmoid()
        return self.score(found)[..., 0]


class BagNet(nn.Module):
    """Encodes each instance, pools them with weights, and classifies the result.

    Args:
        instance: a net from instances [N, ...] to vectors [N, D].
        size: D.
        outputs: numbers that the head gives.
        pooling: one of `POOLINGS`.

    Raises:
        ConfigError: an unknown pooling.
    """

    def __init__(self, instance: nn.Module, size: int, outputs: int, pooling: str) -> None:
        super().__init__()
        check_choice("pooling", pooling, POOLINGS)
        self.instance = instance
        self.pooling = pooling
        self.scores = Scores(size, gated=pooling == "gated") if pooling in ("attention", "gated") else None
        self.attention = nn.Softmax(-1)
        self.pooled = nn.Identity()
        self.head = nn.Linear(size, outputs)

    def encode(self, x: Tensor) -> Tensor:
        """The vectors of the instances, float [B, K, D], of bags [B, K, ...]."""
        return self.instance(x.flatten(0, 1)).view(*x.shape[:2], -1)

    def attend(self, hidden: Tensor, kept: Tensor | None = None) -> Tensor:
        """The weight of each instance, float [B, K], with sums of 1; see `pool`."""
        scores = hidden.new_zeros(hidden.shape[:2]) if self.scores is None else self.scores(hidden)
        return self.attention(scores if kept is None else scores.masked_fill(~kept, -torch.inf))

    def pool(self, hidden: Tensor, kept: Tensor | None = None) -> Tensor:
        """One vector for each bag, float [B, D].

        Args:
            hidden: float [B, K, D].
            kept: bool [B, K], the instances that are seen, at least one of each bag; all by default.
        """
        if self.pooling == "max":
            hidden = hidden if kept is None else hidden.masked_fill(~kept[..., None], -torch.inf)
            return self.pooled(hidden.amax(1))
        return self.pooled(torch.einsum("bk,bkd->bd", self.attend(hidden, kept), hidden))

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, C] of bags [B, K, ...]."""
        return self.head(self.pool(self.encode(x)))


def bag_net(learner: ModuleLearner, pooling: str) -> ModuleLearner:
    """Make a net over single instances one over bags of them.

    Args:
        learner: a net over instances with a linear head, which is taken off.
        pooling: one of `POOLINGS`.

    Raises:
        ConfigError: it has no linear head, or an unknown pooling.
    """
    head = learner.head
    if head is None:
        raise ConfigError("The net of an instance has no linear head, before which its vector would be taken.")
    name = next(name for name, part in learner.module.named_modules() if part is head)
    parent, _, last = name.rpartition(".")
    body = learner.module if name else nn.Identity()
    if name:
        setattr(body.get_submodule(parent), last, nn.Identity())
    return ModuleLearner(BagNet(body, head.in_features, head.out_features, pooling), head="head")


def bag_of(learner: ModuleLearner, method: str) -> BagNet:
    """The net over bags in a learner.

    Raises:
        ConfigError: there is none, or one without attention.
    """
    net = learner.module
    if not isinstance(net, BagNet) or net.pooling == "max":
        have = f"pools by {net.pooling}" if isinstance(net, BagNet) else "is no net over bags"
        raise ConfigError(
            f"{method} needs a student with attention over a bag, and this one {have}; give bag:attention:mlp:64."
        )
    return net


def keep_hard(attention: Tensor, share: float, chance: float, random: float = 0.0) -> Tensor:
    """The instances of each bag that stay when its most attended ones are hidden.

    Tang et al. (2023), "Multiple instance learning framework with masked hard instance mining for whole slide image
    classification", section 3.2. Draws from torch's global generator.

    Args:
        attention: float [B, K].
        share: of the instances, rounded, that are hidden in the mean: this share divided by `chance` is drawn from.
        chance: for each of these most attended ones to be hidden, above 0.
        random: share of all instances, rounded, that are hidden at random besides.

    Returns:
        bool [B, K], with at least one instance of each bag: the least attended one, if all were hidden.
    """
    count = attention.shape[1]
    rank = attention.argsort(1, descending=True).argsort(1)
    hidden = (rank < round(count * share / chance)) & (torch.rand_like(attention) < chance)
    hidden |= torch.rand_like(attention).argsort(1).argsort(1) < round(count * random)
    return ~hidden | ((rank == count - 1) & hidden.all(1, keepdim=True))
