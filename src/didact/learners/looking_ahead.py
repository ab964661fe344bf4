"""Steps that are taken on trial: the learner itself stays where it is, or comes back to where it was."""

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn


def trained_weights(learner: nn.Module) -> dict[str, Tensor]:
    """The learner's trained parameters by name, from which `step_ahead` starts."""
    return {name: parameter for name, parameter in learner.named_parameters() if parameter.requires_grad}


def step_ahead(
    weights: Mapping[str, Tensor], loss: Tensor, *, rate: float, retain_graph: bool = False
) -> dict[str, Tensor]:
    """Compute the weights after a step of gradient descent, weights - rate · gradient.

    Unlike those of `virtual_step`, they are constants: no gradient flows through the step.

    Args:
        weights: by name, as of `trained_weights` or of an earlier call; not changed.
        loss: scalar, computed with these weights.
        rate: the step size; 0 returns equal weights.
        retain_graph: whether more gradients of the loss are needed later.

    Returns:
        The weights by name, for `functional_forward` and `holding`; they require a gradient, for another step.
    """
    slopes = torch.autograd.grad(loss, list(weights.values()), retain_graph=retain_graph, allow_unused=True)
    return {
        name: (weight.detach() if slope is None else weight.detach() - rate * slope).requires_grad_()
        for (name, weight), slope in zip(weights.items(), slopes, strict=True)
    }


@contextlib.contextmanager
def holding(learner: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Give a learner other weights within a `with` block, and then its own back, to the bit.

    Args:
        learner: any.
        weights: by the names of `learner.named_parameters()`; those that are left out stay.
    """
    parameters = dict(learner.named_parameters())
    own = {name: parameters[name].data for name in weights}
    try:
        for name, weight in weights.items():
            parameters[name].data = weight.detach()
        yield
    finally:
        for name, tensor in own.items():
            parameters[name].data = tensor
