"""The mechanism of `dense_learning`."""

import torch

from didact.learners import ModuleLearner
from didact.mechanisms.checking import Found, mechanism, near
from didact.mechanisms.world import normal
from didact.methods.semi_supervised.dense_learning import Config, DenseLearning
from didact.types import IGNORE, MASK, Batch, pixels_of

SIDE = 4
SURE, UNSURE, NONE = 3.0, 0.0, -3.0
"""What a shape says of its pixels: it is there, it may be, it is not."""


class Shown(torch.nn.Module):
    """Says of each pixel what it is given: the logit of a shape against nothing, times a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, 1, H, W] to [B * H * W, 2]."""
        return torch.stack([torch.zeros_like(x), self.weight * x], -1).view(-1, 2)


@mechanism(
    world="Pixels of which an average is sure that a shape is there, unsure, or sure that it is not; a third each.",
    effect="Of the unsure ones nothing is learned, so that two thirds of the pixels are.",
    control="With one threshold for both, the unsure ones are learned as nothing.",
    breaks=("drop class_thresholds",),
)
def what_is_unsure_is_left_out(seed: int) -> Found:
    """The share of the pixels that are learned."""
    x = torch.tensor([SURE, UNSURE, NONE]).repeat(4 * SIDE)
    x = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))].view(3, 1, SIDE, SIDE)
    batch = _batch(x, x)

    def measured(background: float) -> float:
        method = DenseLearning(Config(threshold=0.8, background=background), ModuleLearner(Shown()), batch)
        with torch.random.fork_rng(devices=[]):
            return float(method.loss(batch)["admitted"].mean().detach())

    return Found(effect=measured(0.1), predicted=near(2 / 3), control=measured(1.0), null=near(1.0))


@mechanism(
    world="Images of which every pixel says surely whether a shape is there, cut and put together again.",
    effect="Pseudo-labels change places with pixels: a student that sees the same is as right as it is sure.",
    control="The student sees another image.",
    breaks=("shuffle rearrange_pixels",),
)
def pseudo_labels_move_with_their_pixels(seed: int) -> Found:
    """The loss of the pseudo-labels, in that of the answers that the student is sure of."""
    x = normal(6, 1, SIDE, SIDE, seed=seed).sign() * SURE
    other = normal(6, 1, SIDE, SIDE, seed=seed + 100).sign() * SURE
    surely = float(torch.nn.functional.softplus(torch.tensor(-SURE)))

    def measured(shown: torch.Tensor) -> float:
        batch = _batch(x, shown)
        method = DenseLearning(Config(threshold=0.8, shuffle=1.0), ModuleLearner(Shown()), batch)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return float(method.loss(batch)["pseudo"].mean().detach()) / surely

    return Found(effect=measured(x), predicted=near(1.0), control=measured(other), null=(10.0, 60.0))


def _batch(weak: torch.Tensor, strong: torch.Tensor) -> Batch:
    """The pixels of images without a mask, in two views."""
    ids = torch.arange(len(weak))
    mask = torch.zeros(len(weak), SIDE, SIDE, dtype=torch.int64)
    views = {"x": weak, "weak.x": weak, "strong.x": strong}
    return pixels_of(Batch({MASK: mask, "label": torch.full_like(ids, IGNORE), "id": ids, "row": ids, **views}))
