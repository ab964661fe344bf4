"""What float32 can hold, and how products are kept in it."""

import contextlib

import torch
from torch import Tensor

LOG_FLOOR = -100.0
"""The least log-probability of a teacher, where it says 0; about what float32 can hold."""


def full_precision(tensor: Tensor) -> contextlib.AbstractContextManager[object]:
    """A block in which matrix products on the tensor's device are not computed in a shorter type.

    Differences of products lose what bfloat16 has no digits for. It costs nothing where mixed precision is off.
    """
    kind = tensor.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else contextlib.nullcontext()
