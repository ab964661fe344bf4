"""What stands between a gradient and the optimizer: clipping, and a halt when a number is not finite."""

import math

import torch
from torch import Tensor, nn

from didact.loop.optimizer import skips_on_device


class Guard:
    """Measure the gradient, clip it, and keep the optimizer from taking a step that is not finite.

    On a CPU the numbers are read at once. On a GPU nothing waits: a flag that once raised stays raised tells the fused
    optimizer's kernel to leave the weights alone, and the loop reads it when it next reads the losses. An optimizer
    that has no such kernel makes the loop wait for the number in each step.

    Args:
        parameters: those that are trained.
        optimizer: the one that is guarded.
        clip_norm: the largest norm that the gradient may have; None leaves it as it is.
    """

    def __init__(
        self, parameters: list[nn.Parameter], optimizer: torch.optim.Optimizer, clip_norm: float | None
    ) -> None:
        self.clip_norm = clip_norm
        self.optimizer = optimizer
        device = parameters[0].device
        self.at_once = device.type == "cpu"
        self.deferred = not self.at_once and skips_on_device(optimizer)
        self.raised = torch.zeros((), device=device)

    def admit(self, gradients: list[Tensor], losses: list[Tensor | float]) -> tuple[Tensor | float, bool]:
        """Look at the losses and at the gradients; clip these.

        Args:
            gradients: of the parameters that have one.
            losses: what the terms of the loss are, scalars.

        Returns:
            The norm of the gradient before clipping (a scalar on the device, a number on a CPU), and whether the step
            may be taken; always true where the kernel decides for itself.
        """
        norms = torch._foreach_norm(gradients)  # pyright: ignore[reportPrivateImportUsage]
        if self.at_once:
            # Reading numbers one by one is quicker here than an operation on all of them.
            norm = math.sqrt(math.fsum([n.item() ** 2 for n in norms]))
            if self.clip_norm is not None and self.clip_norm < norm < math.inf:
                torch._foreach_mul_(gradients, self.clip_norm / norm)  # pyright: ignore[reportPrivateImportUsage]
            return norm, math.isfinite(norm + sum(losses))
        norm = torch.linalg.vector_norm(torch.stack(norms))
        if self.clip_norm is not None:
            scale = (self.clip_norm / norm).clamp(max=1.0)
            torch._foreach_mul_(gradients, scale)  # pyright: ignore[reportPrivateImportUsage]
        finite = torch.isfinite(norm + sum(losses))
        if not self.deferred:
            return norm, bool(finite.item())
        self.raised = torch.maximum(self.raised, 1.0 - finite.to(self.raised.dtype))
        self.optimizer.found_inf = self.raised  # pyright: ignore[reportAttributeAccessIssue]
        self.optimizer.grad_scale = None  # pyright: ignore[reportAttributeAccessIssue]
        return norm, True

    def halted(self) -> bool:
        """Whether a deferred step was kept from the weights; waits for the device."""
        return self.deferred and bool(self.raised.item())

    def reset(self) -> None:
        """Lower the flag, after a roll-back."""
        self.raised = torch.zeros_like(self.raised)
