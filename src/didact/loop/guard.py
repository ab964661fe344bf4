"""Gradient clipping, and a halt at a loss or gradient that is not finite."""

import math

import torch
from torch import Tensor

from didact.loop import foreach
from didact.loop.optimizer import skips_on_device
from didact.loop.stepping import Stepper


class Guard:
    """Measures the gradient, clips it, and prevents steps that are not finite.

    On a CPU the numbers are read at once. On a GPU nothing waits: a flag, which stays raised once it is raised, makes
    the fused optimizer's kernel skip the update, and the loop reads it when it next reads the losses. With an optimizer
    without such a kernel, the loop waits for the number in each step.

    Args:
        device: that of the parameters.
        stepper: the owner of the guarded optimizer, which may change during a run.
        clip_norm: the largest norm of the gradient; None does not clip.
    """

    def __init__(self, device: torch.device, stepper: Stepper, clip_norm: float | None) -> None:
        self.stepper, self.clip_norm = stepper, clip_norm
        self.at_once = device.type == "cpu"
        self.raised = torch.zeros((), device=device)

    @property
    def deferred(self) -> bool:
        """Whether the optimizer's kernel leaves a step out, and nothing waits for the device."""
        return not self.at_once and skips_on_device(self.stepper.optimizer)

    def admit(self, gradients: list[Tensor], losses: list[Tensor | float]) -> tuple[Tensor | float, bool]:
        """Check the losses and the gradients; clip the gradients.

        Args:
            gradients: of the parameters that have one.
            losses: the terms of the loss, scalars.

        Returns:
            The norm of the gradient before clipping (a scalar on the device, a number on a CPU), and whether the step
            may be taken; always true if the kernel decides by itself.
        """
        norms = foreach.norms(gradients)
        if self.at_once:
            # Reading numbers one by one is faster here than an operation on all of them.
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
        vars(self.stepper.optimizer).update(found_inf=self.raised, grad_scale=None)
        return norm, True

    def halted(self) -> bool:
        """Whether a deferred step was skipped; waits for the device."""
        return self.deferred and bool(self.raised.item())

    def reset(self) -> None:
        """Lower the flag, after a roll-back."""
        self.raised = torch.zeros_like(self.raised)
