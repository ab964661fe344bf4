"""How matrix products are kept in float32."""

import contextlib

import torch
from torch import Tensor


def full_precision(tensor: Tensor) -> contextlib.AbstractContextManager[object]:
    """A block in which matrix products on the tensor's device are not computed in a shorter type.

    Differences of products lose what bfloat16 has no digits for. It costs nothing where mixed precision is off.
    """
    kind = tensor.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else contextlib.nullcontext()
