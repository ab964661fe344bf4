"""The weights after a virtual step as a function of the weights before it, for meta-learning."""

import torch
from torch import Tensor, nn


def maml_step(learner: nn.Module, loss: Tensor, *, rate: float) -> dict[str, Tensor]:
    """Compute the weights w - rate · dloss/dw, through which gradients flow back into w (Finn et al. 2017, "MAML").

    Unlike `virtual_step`, whose result depends on the loss alone, a loss of these weights has a gradient with respect
    to the learner itself, second derivatives included.

    Args:
        learner: its trained parameters are the start of the step; they are not changed.
        loss: scalar, from the learner's own output.
        rate: the step size; 0 returns the weights unchanged.

    Returns:
        The weights by name, for `functional_forward`.
    """
    weights: dict[str, Tensor] = {name: p for name, p in learner.named_parameters() if p.requires_grad}
    if not rate:
        return weights
    slopes = torch.autograd.grad(loss, list(weights.values()), create_graph=True, allow_unused=True)
    return {
        name: weight if slope is None else weight - rate * slope
        for (name, weight), slope in zip(weights.items(), slopes, strict=True)
    }
