"""What stands between a gradient and the optimizer: clipping, and a halt when a number is not finite."""

import math

import torch
from torch import Tensor

from didact.loop import foreach
from didact.loop.optimizer import skips_on_device


class Guard:
    """Measure the gradient, clip it, and keep the optimizer from taking a step that is not finite.

    On a CPU the numbers are read at once. On a GPU nothing waits: a flag that once raised stays raised tells the fused
    optimizer's kernel to leave the weights alone, and the loop reads it when it next reads the losses. An optimizer
    that has no such kernel makes the loop wait for the number in each step.

    Args:
        device: where the parameters are.
        optimizer: the one that is guarded.
        clip_norm: the largest norm that the gradient may have; None leaves it as it is.
    """

    def __init__(self, device: torch.device, optimizer: torch.optim.Optimizer, clip_norm: float | None) -> None:
        self.clip_norm = clip_norm
        self.at_once = device.type == "cpu"
        self.raised = torch.zeros((), device=device)
        self.watch(optimizer)

    def watch(self, optimizer: torch.optim.Optimizer) -> None:
        """Guard another optimizer of parameters on the same device."""
        self.optimizer = optimizer
        self.deferred = not self.at_once and skips_on_device(optimizer)

    def admit(self, gradients: list[Tensor], losses: list[Tensor | float]) -> tuple[Tensor | float, bool]:
        """Look at the losses and at the gradients; clip these.

        Args:
            gradients: of the parameters that have one.
            losses: what the terms of the loss are, scalars.

        Returns:
            The norm of the gradient before clipping (a scalar on the device, a number on a CPU), and whether the step
            may be taken; always true where the kernel decides for itself.
        """
        norms = foreach.norms(gradients)
        if self.at_once:
            # Reading numbers one by one is quicker here than an operation on all of them.
            norm = math.sqrt(math.fsum([n.item() ** 2 for n in norms]))
            if self.clip_norm is not None and self.clip_norm < norm < math.inf:
                foreach.multiply(gradients, self.clip_norm / norm)
            return norm, math.isfinite(norm + sum(losses))
        norm = torch.linalg.vector_norm(torch.stack(norms))
        if self.clip_norm is not None:
            scale = (self.clip_norm / norm).clamp(max=1.0)
            foreach.multiply(gradients, scale)
        finite = torch.isfinite(norm + sum(losses))
        if not self.deferred:
            return norm, bool(finite.item())
        self.raised = torch.maximum(self.raised, 1.0 - finite.to(self.raised.dtype))
        vars(self.optimizer).update(found_inf=self.raised, grad_scale=None)
        return norm, True

    def halted(self) -> bool:
        """Whether a deferred step was kept from the weights; waits for the device."""
        return self.deferred and bool(self.raised.item())

    def reset(self) -> None:
        """Lower the flag, after a roll-back."""
        self.raised = torch.zeros_like(self.raised)
