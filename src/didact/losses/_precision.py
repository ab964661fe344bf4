"""Matrix products in float32."""

import contextlib

import torch
from torch import Tensor


def full_precision(tensor: Tensor) -> contextlib.AbstractContextManager[object]:
    """A context in which matrix products on the tensor's device are not autocast to a shorter dtype.

    Differences of products would lose their digits in bfloat16. It costs nothing where mixed precision is off.
    """
    kind = tensor.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else contextlib.nullcontext()
