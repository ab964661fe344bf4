"""A net whose inputs are moved by a prompt, which is all that is trained."""

import torch
from torch import Tensor, nn

from didact.types import Batch, Learner


class Prompt(nn.Module):
    """A tensor that is added to every input; zeros at first.

    Args:
        shape: of one input.
    """

    def __init__(self, shape: torch.Size) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(shape))

    def forward(self, batch: Batch) -> Batch:
        """The batch with moved inputs `x`."""
        return Batch({**batch, "x": batch["x"] + self.value})


class PromptedNet(nn.Module):
    """The outputs of a learner for moved inputs.

    Args:
        learner: any that reads `x`.
        prompt: moves the inputs.
    """

    def __init__(self, learner: Learner, prompt: Prompt) -> None:
        super().__init__()
        self.learner, self.prompt = learner, prompt

    def forward(self, x: Tensor) -> Tensor:
        """Inputs [B, ...] to logits [B, C]."""
        return self.learner(self.prompt(Batch({"x": x}))).logits
