"""float32 copies of half-precision weights, which the optimizer steps in their place.

bfloat16 has 8 bits of mantissa: an update below a 256th of a weight would be rounded away, and most are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

HALF = (torch.bfloat16, torch.float16)


@dataclass
class Masters:
    """The copies by weight. The weights are the copies rounded; gradients are summed and clipped in float32."""

    copies: dict[nn.Parameter, nn.Parameter] = field(default_factory=dict)
    writes: dict[nn.Parameter, int] = field(default_factory=dict)
    """How often torch had seen each weight written when it last was its copy rounded."""

    def of(self, parameters: Sequence[nn.Parameter]) -> list[nn.Parameter]:
        """What the optimizer has in the place of some parameters: those in half precision have a copy."""
        for parameter in parameters:
            if parameter.dtype in HALF and parameter not in self.copies:
                self.copies[parameter] = nn.Parameter(parameter.detach().float())
                self.writes[parameter] = parameter._version
        return [self.copies.get(parameter, parameter) for parameter in parameters]

    def take_gradients(self) -> None:
        """Add the gradients of the weights to those of their copies, and drop them."""
        for parameter, copy in self.copies.items():
            if parameter.grad is not None:
                found = parameter.grad.float()
                copy.grad = found if copy.grad is None else copy.grad.add_(found)
                parameter.grad = None

    @torch.no_grad()
    def refresh(self) -> None:
        """Copy weights that something else wrote to, such as a method after a step."""
        for parameter, copy in self.copies.items():
            if parameter._version != self.writes[parameter]:
                copy.copy_(parameter)

    @torch.no_grad()
    def give_back(self) -> None:
        """Round the copies to the weights."""
        for parameter, copy in self.copies.items():
            parameter.copy_(copy)
            self.writes[parameter] = parameter._version

    @torch.no_grad()
    def load(self, kept: Mapping[nn.Parameter, Tensor]) -> None:
        """Take back the copies of a checkpoint, whose weights are loaded already."""
        for parameter, value in kept.items():
            self.copies[parameter].copy_(value)
            self.writes[parameter] = parameter._version
