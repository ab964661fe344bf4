"""The weights after a virtual step, as a function of the weights before it: what meta-learning differentiates."""

import torch
from torch import Tensor, nn


def maml_step(learner: nn.Module, loss: Tensor, *, rate: float) -> dict[str, Tensor]:
    """Compute the weights w - rate · dloss/dw, through which gradients flow back into w (Finn et al. 2017, "MAML").

    Unlike those of `virtual_step`, which are a function of the loss alone, a loss of these weights teaches the learner
    itself, second derivatives included.

    Args:
        learner: whose trained parameters take the step; its own stay as they are.
        loss: scalar, from the learner's own answer.
        rate: the length of the step; 0 gives the weights as they are.

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
