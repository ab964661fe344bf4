"""The projection head of DINO, and an initialisation near another net."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from didact.errors import ConfigError, check_range


@torch.no_grad()
def init_near(module: nn.Module, other: nn.Module, distance: float) -> None:
    """Initialise a net near another one, in place, and keep the variance of its weights.

    Weights of two or more dimensions become ((1 - a) other + a own) / sqrt((1 - a)² + a²), which keeps their variance
    where both were drawn independently (Sarnthein et al. 2023, section 4.3). Biases, and the scales of normalisations,
    become (1 - a) other + a own.

    Args:
        module: freshly initialised; changed in place.
        other: of the same architecture.
        distance: a in [0, 1]; 0 makes both equal, 1 leaves `module` unchanged.

    Raises:
        ConfigError: the architectures differ, or the distance is out of range.
    """
    check_range("distance", distance, at_least=0.0, at_most=1.0)
    mine, theirs = dict(module.named_parameters()), dict(other.named_parameters())
    if {name: p.shape for name, p in mine.items()} != {name: p.shape for name, p in theirs.items()}:
        raise ConfigError(
            "A net can only start near another one of the same architecture, whose parameters differ here."
        )
    spread = ((1.0 - distance) ** 2 + distance**2) ** 0.5
    for name, own in mine.items():
        own.lerp_(theirs[name].to(own), 1.0 - distance)
        if own.ndim > 1:
            own.div_(spread)


class DinoHead(nn.Module):
    """Maps a representation to scores of prototypes: two layers, normalisation to length 1, and a linear layer.

    A small version of the projection head of DINO (Caron et al. 2021).

    Args:
        width: of the representation, D.
        hidden: width of the hidden layer.
        bottleneck: width of the normalised vector.
        outputs: the number of prototypes.
        seed: the only source of randomness of the weights.
    """

    def __init__(self, width: int, *, hidden: int, bottleneck: int, outputs: int, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.body = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, bottleneck))
            self.scores = nn.Linear(bottleneck, outputs, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """[B, D] to [B, outputs]."""
        return self.scores(F.normalize(self.body(hidden), dim=-1))
