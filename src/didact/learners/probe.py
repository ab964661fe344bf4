"""A linear head that learns from a representation which stays as it is."""

import torch
from torch import Tensor, nn

from didact.learners.moments import Moments

_KEPT = 0.9
"""How much of the moments' past stays at a step."""
_GAIN = 10.0
"""What standardised features are multiplied by, so that steps that suit a net soon bring a probe to its optimum."""


class LinearProbe(nn.Module):
    """A linear layer on standardised features, that can be written into the head of the net they come from.

    Features of a net that was not trained for a task may be small, or far from zero; on them, a plain layer would learn
    slowly, and probes of two representations would differ by their scale alone.

    Args:
        hidden: float [B, D], B at least 2; features of a few examples, whose moments are where it begins.
        outputs: how many classes, C.
    """

    def __init__(self, hidden: Tensor, outputs: int) -> None:
        super().__init__()
        # Weights of zero need no seed; a linear layer's loss is convex, so that nothing must break a symmetry.
        self.weight = nn.Parameter(torch.zeros(outputs, hidden.shape[-1]))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.moments = Moments(hidden, kept=_KEPT)

    def forward(self, hidden: Tensor) -> Tensor:
        """Logits [B, C] of features [B, D], which get no gradient."""
        return nn.functional.linear(_GAIN * self.moments(hidden.detach()), self.weight, self.bias)

    @torch.no_grad()
    def write(self, head: nn.Linear) -> None:
        """Make a head compute the same from the features as they are."""
        weight = _GAIN * self.weight / self.moments.spread
        head.weight.copy_(weight)
        if head.bias is not None:
            head.bias.copy_(self.bias - weight @ self.moments.mean)
