"""Products of matrices in int8, for rollouts on a CPU.

Weights are rounded once per sampling call, to 255 levels per output. States have outliers (Dettmers et al. 2022,
LLM.int8()) which the levels of one row would drown the rest in: they are rounded to two whole numbers, the second of
what is left, whose products are computed at once, as rows of one matrix. Rows are independent, so that a completion
does not depend on what else is sampled with it. Axis letters: N rows.

The products are exact, and thus the same, on every CPU. One without VNNI adds two products of an unsigned and a signed
byte in 16 bits (vpmaddubsw) and saturates. So states have 64 levels to a side, about a zero point of 64, which is one
bit less than a byte has: 2 * 128 * 127 = 32512 is below 2**15. (States as signed bytes would not do: oneDNN shifts them
by 128.) The two numbers of a state are within 1/16384 of the row's largest; the weights' 1/254 is the larger error.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from didact.rollouts.products import merged_weight
from didact.types import Head

_WEIGHT_LEVELS = 127.0
_STATE_LEVELS = 64


class Int8Product:
    """See `didact.rollouts.products.Product`; in whole numbers, by oneDNN.

    Args:
        layers: linear layers with float32 weights on the CPU, perhaps with low-rank adapters, which are merged; or a
            head. The weights are copied.
    """

    def __init__(self, *layers: Any) -> None:
        weights = [one.weight if type(one) in (nn.Linear, Head) else merged_weight(one) for one in layers]
        biases = [getattr(one, "base_layer", one).bias for one in layers]
        weight = torch.cat(weights) if len(weights) > 1 else weights[0]
        self.sizes = [len(one) for one in weights]
        self.bias = None if all(one is None for one in biases) else _joined_bias(biases, self.sizes)
        low, high = torch.aminmax(weight, dim=1)
        self.scale = torch.maximum(-low, high).div_(_WEIGHT_LEVELS).clamp_(min=torch.finfo(torch.float32).tiny)
        rounded = torch.mul(weight, self.scale.reciprocal()[:, None]).round_().to(torch.int8)
        self.zeros = torch.zeros(len(weight), dtype=torch.int64)
        self.weight = torch.ops.onednn.qlinear_prepack(rounded, None)

    def __call__(self, x: Tensor) -> Tensor:
        """See `Product`."""
        found, scale = self._product(x)
        return found.mul_(scale) if self.bias is None else torch.addcmul(self.bias, found, scale)

    def parts(self, x: Tensor) -> Sequence[Tensor]:
        """See `Product`."""
        return self(x).split(self.sizes, 1)

    def add(self, x: Tensor, to: Tensor) -> Tensor:
        """See `Product`."""
        found, scale = self._product(x)
        to = to.addcmul_(found, scale)
        return to if self.bias is None else to.add_(self.bias)

    def _product(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The product of the rounded states, float32 [N, out], and what it must be multiplied by, [N, 1]."""
        scale = x.abs().amax(1, keepdim=True).mul_(1.0 / _STATE_LEVELS).clamp_(min=torch.finfo(torch.float32).tiny)
        scaled = x / scale
        whole = scaled.round()
        # What is left is at most a half.
        rest = scaled.sub_(whole).mul_(2.0 * _STATE_LEVELS).round_()
        rounded = torch.cat((whole, rest)).add_(_STATE_LEVELS).to(torch.uint8)
        found = torch.ops.onednn.qlinear_pointwise(
            rounded,
            1.0,
            _STATE_LEVELS,
            self.weight,
            self.scale,
            self.zeros,
            None,
            1.0,
            0,
            torch.float32,
            "none",
            [],
            "",
        )
        return found[: len(x)].add_(found[len(x) :], alpha=0.5 / _STATE_LEVELS), scale


def _joined_bias(biases: Sequence[Tensor | None], sizes: Sequence[int]) -> Tensor:
    return torch.cat([torch.zeros(size) if one is None else one for one, size in zip(biases, sizes, strict=True)])


def has_int8() -> bool:
    """Whether this torch has the products."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.onednn, "qlinear_prepack")
