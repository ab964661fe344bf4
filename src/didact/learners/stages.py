"""Where the stages of a net end, for methods that look at its maps."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def stages(module: nn.Module, look: Callable[[], Any]) -> dict[tuple[int, ...], str]:
    """Find the last block of each resolution, such as the four stages of a residual net.

    Args:
        module: the net; its names are those of its submodules, as `ModuleLearner.tap` takes them.
        look: runs the net once on a few examples.

    Returns:
        By resolution, in the order of the net, the name of the last submodule that gives maps [B, C, H, W] of height
        and width (H, W), or T tokens [B, T, D] under (T,); with more than one position. Submodules with parts of their
        own go before single layers, which are taken only where none of the others gives any. Empty where nothing does.
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


def _note(found: dict[tuple[int, ...], str], name: str) -> Callable[..., None]:
    def hook(_module: nn.Module, _args: Any, result: Any) -> None:
        result = result[0] if isinstance(result, tuple) and result else result
        if not isinstance(result, Tensor) or result.ndim not in (3, 4):
            return
        positions = tuple(result.shape[2:] if result.ndim == 4 else result.shape[1:2])
        if torch.Size(positions).numel() > 1:
            # Taken out first, so that the order is that of the last ones.
            found.pop(positions, None)
            found[positions] = name

    return hook
