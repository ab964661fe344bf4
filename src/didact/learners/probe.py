"""A linear probe: a linear head on a frozen representation."""

import torch
from torch import Tensor, nn

from didact.learners.moments import Moments

_KEPT = 0.9
"""The decay of the moments at each step."""
_GAIN = 10.0
"""The factor of standardised features, with which a probe converges fast at a net's learning rate."""


class LinearProbe(nn.Module):
    """A linear layer on standardised features, which can be written into the head of their net.

    Features of a net that was not trained for a task may be small, or far from zero. A plain layer would learn slowly
    on them, and probes of two representations would differ by their scale alone.

    Args:
        hidden: float [B, D], B at least 2; features of a few examples, for the initial moments.
        outputs: the number of classes, C.
    """

    def __init__(self, hidden: Tensor, outputs: int) -> None:
        super().__init__()
        # Zero weights need no seed; a linear layer's loss is convex, so that no symmetry must be broken.
        self.weight = nn.Parameter(torch.zeros(outputs, hidden.shape[-1]))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.moments = Moments(hidden, kept=_KEPT)

    def forward(self, hidden: Tensor) -> Tensor:
        """Logits [B, C] of features [B, D], which get no gradient."""
        return nn.functional.linear(_GAIN * self.moments(hidden.detach()), self.weight, self.bias)

    @torch.no_grad()
    def write(self, head: nn.Linear) -> None:
        """Make a head compute the same from the raw features."""
        weight = _GAIN * self.weight / self.moments.spread
        head.weight.copy_(weight)
        if head.bias is not None:
            head.bias.copy_(self.bias - weight @ self.moments.mean)
