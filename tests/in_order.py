"""Notices sums that several threads would make in whatever order they come."""

from collections.abc import Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class InOrder(TorchDispatchMode):
    """While this lasts, no gradient of advanced indexing may add to the same place twice, which a CPU does with atomic
    additions: the last digits then depend on what else the machine does."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        if func is torch.ops.aten.index_put.default and len(args) > 3 and args[3]:
            into, index, values = args[:3]
            added = func(torch.zeros_like(into), index, torch.ones_like(values), True)
            assert added.max() <= 1, f"places of {list(into.shape)} get several of {list(values.shape)}"
        return func(*args, **(kwargs or {}))
