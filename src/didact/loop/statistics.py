"""Batch normalisation over the rows of several processes."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from didact.documents import Values
from didact.types import Place


class SharedStatistics(TorchFunctionMode):
    """In this context, batch normalisation in training takes the statistics of the rows of all processes.

    Every process must call it equally often, with any number of rows. Its gradient flows to the rows of all.

    Args:
        place: this process among the others.
    """

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Values | None = None) -> Any:
        return (self.normalise if func is F.batch_norm else func)(*args, **(kwargs or {}))

    def normalise(
        self,
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        """As `torch.nn.functional.batch_norm`; its input is float [B, C, ...], its statistics are at least float32."""
        if not training:
            return F.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
        channels = input.shape[1]
        own = (input.float() if input.element_size() < 4 else input).movedim(1, 0).flatten(1)
        mean = own.sum(1) / max(1, own.shape[1])
        around = (own - mean[:, None]).square().sum(1)
        every = torch.cat([mean.new_tensor([own.shape[1]]), mean, around])
        count, means, arounds = self.place.gather(every[None], each=1).split([1, channels, channels], 1)
        total = count.sum()
        mean = (count * means).sum(0) / total.clamp(min=1)
        around = (arounds + count * (means - mean).square()).sum(0)
        with torch.no_grad():
            for running, now in ((running_mean, mean), (running_var, around / (total - 1).clamp(min=1))):
                if running is not None:
                    running.lerp_(now.to(running), (momentum * (total > 0)).to(running))
        shape = (channels, *[1] * (input.ndim - 2))
        scale = (around / total.clamp(min=1) + eps).rsqrt() * (1.0 if weight is None else weight)
        offset = (0.0 if bias is None else bias) - mean * scale
        return (input * scale.view(shape) + offset.view(shape)).to(input)
