"""Wider nets that contain a narrow net in their leading channels."""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from didact.errors import ConfigError, check_range
from didact.learners.module import ModuleLearner
from didact.types import Batch

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Embedding)
_NORMS = (nn.GroupNorm, nn.LayerNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def widen(learner: ModuleLearner, sample: Batch, factor: int, *, seed: int = 0) -> ModuleLearner:
    """A net of the same layers with more channels, initialised with the narrow net's weights in the leading ones.

    Every linear layer, convolution, embedding and normalisation gets `factor` times as many channels, except for the
    inputs and outputs of the net. New weights have the layers' default initialisation.

    Args:
        learner: the narrow net, which is not changed; the layer that runs first reads the data, the one that runs last
            gives the output.
        sample: a few examples, to find the layers that run and to check the wide net.
        factor: at least 2.
        seed: of the new weights.

    Raises:
        ConfigError: the net has weights of another kind, or its parts no longer fit together when they are wider.
    """
    check_range("expansion", factor, at_least=2)
    wide = copy.deepcopy(learner)
    _check_parts(wide.module)
    order = _run_order(wide, sample)
    layers = [part for part in order if isinstance(part, _LAYERS)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        seen_data = False
        for part in order:
            _widen(part, inner=factor if seen_data else 1, outer=1 if part is layers[-1] else factor)
            seen_data = seen_data or isinstance(part, _LAYERS)
    with torch.no_grad():
        for narrow, leading in zip(learner.parameters(), leading_weights(wide, learner).values(), strict=True):
            leading.copy_(narrow)
        try:
            wide(sample)
        except RuntimeError as error:
            raise ConfigError(
                f"The learner cannot be widened: {error}. Parts that read the data beside the first layer, or reshape "
                "channels, stand in the way; take a plain chain of layers, such as mlp:32 or cnn:8,16."
            ) from None
    return wide


def leading_weights(wide: nn.Module, narrow: nn.Module) -> dict[str, Tensor]:
    """The leading part of a wide net's weights, with the shapes of the narrow net.

    Args:
        wide: a net with parameters of the same names, each at least as large along every axis.
        narrow: the net with the names and shapes.

    Returns:
        Views of the wide net's parameters, by their names in the narrow net; gradients flow through them.
    """
    whole = dict(wide.named_parameters())
    return {
        name: whole[name][tuple(slice(size) for size in parameter.shape)]
        for name, parameter in narrow.named_parameters()
    }


def _check_parts(module: nn.Module) -> None:
    for name, part in module.named_modules():
        if any(True for _ in part.parameters(recurse=False)) and not isinstance(part, _LAYERS + _NORMS):
            raise ConfigError(
                f"The learner's part {name or type(part).__name__!r} is a {type(part).__name__}, which cannot be "
                "widened; linear layers, convolutions, embeddings and their normalisations can, as in mlp:32 or "
                "cnn:8,16."
            )


def _run_order(learner: ModuleLearner, sample: Batch) -> list[Any]:
    """The modules with channels, in the order in which they run, each once."""
    order: dict[nn.Module, None] = {}
    hooks = [
        part.register_forward_pre_hook(lambda module, _args: order.setdefault(module))
        for part in learner.modules()
        if isinstance(part, _LAYERS + _NORMS)
    ]
    with torch.no_grad():
        learner(sample)
    for hook in hooks:
        hook.remove()
    return list(order)


def _widen(part: Any, *, inner: int, outer: int) -> None:
    """Give a module more channels, in place, and initialise its weights."""
    for name, factor in _factors(part, inner, outer):
        setattr(part, name, getattr(part, name) * factor)
    if isinstance(part, nn.LayerNorm):
        part.normalized_shape = (*part.normalized_shape[:-1], part.normalized_shape[-1] * inner)
    for name, shape in _shapes(part):
        old = getattr(part, name)
        if old is None:
            continue
        new = old.new_zeros(shape)
        setattr(part, name, nn.Parameter(new) if isinstance(old, nn.Parameter) else new)
    part.reset_parameters()


def _factors(part: Any, inner: int, outer: int) -> list[tuple[str, int]]:
    if isinstance(part, nn.Linear):
        return [("in_features", inner), ("out_features", outer)]
    if isinstance(part, nn.Embedding):
        return [("embedding_dim", outer)]
    if isinstance(part, nn.GroupNorm):
        return [("num_groups", inner), ("num_channels", inner)]
    if isinstance(part, nn.LayerNorm):
        return []
    if isinstance(part, _NORMS):
        return [("num_features", inner)]
    own = [("in_channels", inner), ("out_channels", outer)]
    return [*own, ("groups", inner)] if part.groups > 1 else own


def _shapes(part: Any) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """The new shapes of parameters and buffers."""
    if isinstance(part, nn.Linear):
        yield from (("weight", (part.out_features, part.in_features)), ("bias", (part.out_features,)))
    elif isinstance(part, nn.Embedding):
        yield "weight", (part.num_embeddings, part.embedding_dim)
    elif isinstance(part, nn.LayerNorm):
        yield from (("weight", part.normalized_shape), ("bias", part.normalized_shape))
    elif isinstance(part, nn.GroupNorm):
        yield from (("weight", (part.num_channels,)), ("bias", (part.num_channels,)))
    elif isinstance(part, _NORMS):
        yield from ((name, (part.num_features,)) for name in ("weight", "bias", "running_mean", "running_var"))
    else:
        kernel = (part.out_channels, part.in_channels // part.groups, *part.kernel_size)
        yield from (("weight", kernel), ("bias", (part.out_channels,)))
