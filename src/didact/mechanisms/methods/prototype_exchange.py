"""The mechanism of `prototype_exchange`."""

import torch
from torch import nn
from torch.nn import functional as F

from didact.learners import ModuleLearner
from didact.learners.maps import flatten_map
from didact.mechanisms.checking import Found, mechanism
from didact.mechanisms.world import normal, train
from didact.methods.semi_supervised.prototype_exchange import Config, PrototypeExchange
from didact.types import IGNORE, MASK, Batch, pixels_of

IMAGES, SIDE, WIDTH, STEPS = 6, 6, 4, 25


class Table(nn.Module):
    """Features of each pixel, whatever is shown."""

    def __init__(self, features: torch.Tensor) -> None:
        super().__init__()
        self.features = nn.Parameter(features)

    def forward(self, _x: torch.Tensor) -> torch.Tensor:
        """To [IMAGES, WIDTH, SIDE, SIDE]."""
        return self.features


class Scores(nn.Module):
    """The first two features, times a factor, as scores of pixels."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """[B, WIDTH, H, W] to [B * H * W, 2]."""
        return flatten_map(8.0 * features[:, :2])


def student(features: torch.Tensor) -> ModuleLearner:
    """A student that is a table."""
    return ModuleLearner(nn.Sequential(Table(features), Scores()))


@mechanism(
    world="Pixels of two kinds, a student that knows nothing of them, and another that is sure of each.",
    effect="The first one's features come to lie nearest to the other's prototype of the right kind.",
    control="The other is sure of what other pixels are, so that its prototypes draw the wrong pixels.",
    breaks=("flip prototype_loss", "drop prototype_loss"),
)
def features_are_drawn_to_the_prototypes_of_the_other(seed: int) -> Found:
    """The share of pixels whose feature is nearest to the other's translated prototype of their kind."""
    kind = torch.randint(2, (IMAGES, SIDE, SIDE), generator=torch.Generator().manual_seed(seed))
    ids = torch.arange(IMAGES)
    x = torch.zeros(IMAGES, 1, SIDE, SIDE)
    hidden = {MASK: kind, "label": torch.full_like(ids, IGNORE), "id": ids, "row": ids}
    batch = pixels_of(Batch({"x": x, "first.x": x, "second.x": x, **hidden}))

    def measured(told: torch.Tensor) -> float:
        sure = torch.cat([F.one_hot(told, 2).float(), 0.1 * normal(IMAGES, SIDE, SIDE, 2, seed=seed)], -1)
        mine = 0.1 * normal(IMAGES, WIDTH, SIDE, SIDE, seed=seed + 50)
        other = student(sure.movedim(-1, 1).contiguous())
        method = PrototypeExchange(Config(wait=0.0), student(mine), lambda _spec: other, batch, seed)
        train(method, batch, "others_0", steps=STEPS, rate=0.05)
        with torch.no_grad():
            features = F.normalize(flatten_map(method.learner(batch).features[method.tap]), dim=-1)
            prototypes = F.normalize(method.translations[1](F.normalize(method.memories[1].mean, dim=-1)), dim=-1)
        return float(((features @ prototypes.T).argmax(-1) == kind.flatten()).double().mean())

    return Found(effect=measured(kind), predicted=(0.95, 1.0), control=measured(kind.roll(1, 0)), null=(0.35, 0.65))
