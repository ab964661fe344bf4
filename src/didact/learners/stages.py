"""The stages of a net, for methods that use its feature maps."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from didact.errors import ConfigError
from didact.learners.module import ModuleLearner
from didact.types import Batch


def find_stages(module: nn.Module, look: Callable[[], Any]) -> dict[tuple[int, ...], str]:
    """Find the last block of each resolution, such as the four stages of a residual net.

    Args:
        module: the net; its names are those of its submodules, as `ModuleLearner.tap` takes them.
        look: runs the net once on a few examples.

    Returns:
        By resolution, in the order of the net, the name of the last submodule with output maps [B, C, H, W] of height
        and width (H, W), or T tokens [B, T, D] under (T,), with more than one position. Submodules with children take
        precedence over single layers, which are used only if no other has such outputs. Empty if there are none.
    """
    blocks: dict[tuple[int, ...], str] = {}
    layers: dict[tuple[int, ...], str] = {}
    hooks = [
        part.register_forward_hook(_note(blocks if any(part.children()) else layers, name))
        for name, part in module.named_modules()
        if name
    ]
    try:
        with torch.no_grad():
            look()
    finally:
        for hook in hooks:
            hook.remove()
    return blocks or layers


def match_maps(learner: ModuleLearner, other: ModuleLearner, sample: Batch) -> list[tuple[str, str]]:
    """Pair the layers of two nets, single layers included, that have output maps of the same resolution.

    Args:
        learner: a net that is trained; layers before its first weights are left out.
        other: another net.
        sample: a few examples.

    Returns:
        For each height and width of maps that both have, larger than 1 x 1, the name of the last submodule of each net
        with such maps, in the order of `other`.

    Raises:
        ConfigError: there is no such resolution.
    """
    mine, theirs = _last_at(learner, sample, trained=True), _last_at(other, sample, trained=False)
    pairs = [(mine[at], name) for at, name in theirs.items() if at in mine]
    if not pairs:
        raise ConfigError(
            "The student and the teacher have no maps of one resolution; name layers with maps of the same height and "
            "width in student_taps and teacher_taps."
        )
    return pairs


def _last_at(learner: ModuleLearner, sample: Batch, *, trained: bool) -> dict[tuple[int, ...], str]:
    """By height and width, the last submodule with such maps; with `trained`, only maps that depend on weights."""
    found: dict[tuple[int, ...], str] = {}

    def hook(name: str) -> Callable[..., None]:
        note = _note(found, name)

        def keep(module: nn.Module, args: object, result: object) -> None:
            if isinstance(result, Tensor) and result.ndim == 4 and (result.requires_grad or not trained):
                note(module, args, result)

        return keep

    hooks = [part.register_forward_hook(hook(name)) for name, part in learner.module.named_modules() if name]
    try:
        with torch.enable_grad():
            learner(sample)
    finally:
        for one in hooks:
            one.remove()
    return found


def _note(found: dict[tuple[int, ...], str], name: str) -> Callable[..., None]:
    def hook(_module: nn.Module, _args: object, result: object) -> None:
        result = result[0] if isinstance(result, tuple) and result else result
        if not isinstance(result, Tensor) or result.ndim not in (3, 4):
            return
        positions = tuple(result.shape[2:] if result.ndim == 4 else result.shape[1:2])
        if torch.Size(positions).numel() > 1:
            # Taken out first, so that the order is that of the last ones.
            found.pop(positions, None)
            found[positions] = name

    return hook
