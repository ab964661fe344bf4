"""Auxiliary heads on the stages of a net, which help to train it and are not part of it."""

import torch
from torch import Tensor, nn

from didact.learners.module import HIDDEN, ModuleLearner


class AuxiliaryHead(nn.Module):
    """A mean over positions, and a linear layer.

    Args:
        width: of the features, D.
        outputs: the number of outputs.
        seed: the only source of randomness of its weights.
    """

    def __init__(self, width: int, outputs: int, *, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.linear = nn.Linear(width, outputs)

    def forward(self, features: Tensor) -> Tensor:
        """Logits [B, outputs] of maps [B, D, H, W], tokens [B, T, D] or vectors [B, D]."""
        return self.linear(pool_features(features))


def pool_features(features: Tensor) -> Tensor:
    """The mean over positions: [B, D] from maps [B, D, H, W], tokens [B, T, D] or vectors [B, D]."""
    return features.mean((2, 3)) if features.ndim == 4 else features.mean(1) if features.ndim == 3 else features


def stage_names(learner: ModuleLearner) -> tuple[str, ...]:
    """The stages of a net, in order, as taps: its children with weights, without the one that holds the head.

    Where there is none, the input of the head (`hidden`) is the only stage.
    """
    head = learner.head
    return tuple(
        name
        for name, part in learner.module.named_children()
        if any(True for _ in part.parameters()) and all(inner is not head for inner in part.modules())
    ) or (HIDDEN,)
