"""Virtual optimisation steps, through which bilevel methods differentiate."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from didact.types import Batch, Output


def functional_forward(learner: nn.Module, weights: Mapping[str, Tensor], batch: Batch) -> Output:
    """Compute the output of a learner with given weights.

    Args:
        learner: any; not changed, except for buffers that a forward pass updates, such as running statistics.
        weights: by the names of `learner.named_parameters()`; those that are left out are the learner's own.
        batch: the input.
    """
    return functional_call(learner, dict(weights), (batch,))


def virtual_step(
    learner: nn.Module, batch: Batch, loss: Callable[[Output], Tensor], *, rate: float
) -> dict[str, Tensor]:
    """Compute the weights after one virtual step of gradient descent, as a function of the loss.

    Gradients flow from these weights, through the step, into everything that the loss depends on (such as weights of
    examples), but not into the learner's weights.

    Args:
        learner: its trained parameters are the start of the step; they are not changed.
        batch: the batch of the step.
        loss: from the learner's output to a scalar.
        rate: the step size: weights - rate · gradient.

    Returns:
        The weights by name, for `functional_forward`.
    """
    start = {
        name: parameter.detach().requires_grad_()
        for name, parameter in learner.named_parameters()
        if parameter.requires_grad
    }
    with torch.enable_grad():
        value = loss(functional_forward(learner, start, batch))
        slopes = torch.autograd.grad(value, list(start.values()), create_graph=True, allow_unused=True)
    return {
        name: weight.detach() if slope is None else weight.detach() - rate * slope
        for (name, weight), slope in zip(start.items(), slopes, strict=True)
    }
