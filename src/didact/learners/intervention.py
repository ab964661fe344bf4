"""Forward passes in which the output of one layer is replaced."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from didact.learners.module import HIDDEN, ModuleLearner
from didact.types import Batch, Output


def replace_activation(learner: ModuleLearner, batch: Batch, tap: str, state: Tensor) -> Output:
    """Compute the output of a net with the activation of one layer replaced.

    Args:
        learner: any; gradients flow into its weights and the state.
        batch: the input; the layers before this one are computed, but have no effect.
        tap: name of the layer, which must be used once in a forward pass.
        state: as many elements as the layer's output [B, ...], in any shape.

    Raises:
        AttributeError: there is no such layer.
    """

    def instead(_module: nn.Module, _args: object, result: Tensor) -> Tensor:
        return state.view_as(result).to(result.dtype)

    hook = learner.module.get_submodule(tap).register_forward_hook(instead)
    try:
        return learner(batch)
    finally:
        hook.remove()


def middle_layer(learner: ModuleLearner, sample: Batch) -> str:
    """Find the layer in the middle of a net.

    Args:
        learner: any.
        sample: a few examples.

    Returns:
        The name of the middle one among the layers that are used once, in order of use, without the last one;
        `hidden` where there is none.
    """
    used: list[str] = []

    def note(name: str) -> Callable[..., None]:
        return lambda _module, _args, result: used.append(name) if isinstance(result, Tensor) else None

    layers = {name: part for name, part in learner.module.named_modules() if name and not any(part.children())}
    hooks = [part.register_forward_hook(note(name)) for name, part in layers.items()]
    try:
        with torch.no_grad():
            learner(sample)
    finally:
        for hook in hooks:
            hook.remove()
    once = [name for name in used[:-1] if used.count(name) == 1]
    return once[len(once) // 2] if once else HIDDEN
