"""The normalisation layers of a net, and the statistics that some of them keep."""

import contextlib
from collections.abc import Iterator

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

_KINDS = (_BatchNorm, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)


def normalisation_layers(module: nn.Module) -> tuple[nn.Module, ...]:
    """The layers that normalise by batch, group, layer or instance, and have a scale or an offset that can be trained.

    Args:
        module: any.
    """
    return tuple(
        part
        for part in module.modules()
        if isinstance(part, _KINDS) and any(weight.requires_grad for weight in part.parameters())
    )


@contextlib.contextmanager
def averaged_statistics(module: nn.Module, step: int) -> Iterator[None]:
    """For one training step, let batch normalisation average its running statistics evenly over all steps.

    Those of step 0 replace what was there; those of step n count 1 / (n + 1).

    Args:
        module: any, in training mode.
        step: from 0.
    """
    layers = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    before = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 1.0 / (step + 1)
    try:
        yield
    finally:
        for layer, momentum in zip(layers, before, strict=True):
            layer.momentum = momentum
