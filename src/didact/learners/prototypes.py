"""A classifier by the distances of features to prototypes."""

import torch
from torch import Tensor, nn

from didact.learners.module import ModuleLearner
from didact.types import Batch

_UNKNOWN = -1e4
"""The logarithm of the weight of a class without a prototype."""


class PrototypeNet(nn.Module):
    """Softmax over the negative distances of the features to one prototype a class, averaged over environments.

    Args:
        learner: with a linear head, whose input is compared.
        prototypes: float [E, C, D], those of each class in each environment.
        known: bool [E, C], which of them there are.
        temperature: above 0, of the Euclidean distances.
    """

    prototypes: Tensor
    known: Tensor

    def __init__(self, learner: ModuleLearner, prototypes: Tensor, known: Tensor, temperature: float) -> None:
        super().__init__()
        self.learner, self.temperature = learner, temperature
        self.register_buffer("prototypes", prototypes)
        self.register_buffer("known", known)

    def forward(self, x: Tensor | None = None, **inputs: Tensor) -> Tensor:
        """Inputs of the learner to the mean over environments of log-probabilities, [B, C]."""
        hidden = self.learner(Batch(inputs if x is None else {"x": x})).hidden
        assert hidden is not None
        prototypes = self.prototypes.to(hidden.dtype)
        distance = torch.cdist(hidden, prototypes.flatten(0, 1)).unflatten(1, prototypes.shape[:2])
        scores = (-distance / self.temperature).masked_fill(~self.known, _UNKNOWN)
        return scores.log_softmax(-1).mean(1)
