"""Layers whose output is changed on its way: by a perturbation, or so that parts of it carry no gradient."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from didact.errors import ConfigError, nearest
from didact.learners.module import HIDDEN, ModuleLearner


def check_layer(learner: ModuleLearner, layer: str) -> None:
    """Refuse a layer that a learner does not have, with its names.

    Args:
        learner: any.
        layer: the name of a submodule, or `hidden` for what the head is given.

    Raises:
        ConfigError: there is none of that name.
    """
    known = learner.candidates()
    if layer not in known:
        raise ConfigError(f"layer is {layer!r}, which the student does not have. {nearest(layer, known)}")


@contextmanager
def changed(learner: ModuleLearner, layer: str, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """While this is open, what a layer gives is what `change` makes of it.

    Args:
        learner: any.
        layer: see `check_layer`.
        change: from what the layer gives to what the next one is given.
    """
    if layer == HIDDEN:
        assert learner.head is not None
        handle = learner.head.register_forward_pre_hook(lambda _module, args: (change(args[0]), *args[1:]))
    else:
        part = learner.module.get_submodule(layer)
        handle = part.register_forward_hook(lambda _module, _args, output: change(output))  # pyright: ignore[reportArgumentType]
    try:
        yield
    finally:
        handle.remove()


def stop_spectrum(x: Tensor, *, amplitude: bool, phase: bool) -> Tensor:
    """The same numbers, of whose discrete Fourier transform the amplitude or the phase carries no gradient.

    Huang et al. (2023), "PADDLES: Phase-amplitude spectrum disentangled early stopping for learning with noisy
    labels", section 3.2. The transform is over all dimensions of an example.

    Args:
        x: float [B, ...].
        amplitude: whether the amplitude is held.
        phase: whether the phase is held.

    Returns:
        As `x`, up to rounding.
    """
    places = tuple(range(1, x.ndim))
    spectrum = torch.fft.fftn(x.float(), dim=places)
    size, angle = spectrum.abs(), spectrum.angle()
    size, angle = size.detach() if amplitude else size, angle.detach() if phase else angle
    return torch.fft.ifftn(torch.polar(size, angle), dim=places).real.to(x.dtype)
