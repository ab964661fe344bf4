"""torch's operations on lists of tensors, which have private names."""

from collections.abc import Callable
from typing import Any

import torch

norms: Callable[..., list[torch.Tensor]] = vars(torch)["_foreach_norm"]
"""The norm of each tensor."""
multiply: Callable[..., Any] = vars(torch)["_foreach_mul_"]
"""Multiplies each tensor, in place."""
negate: Callable[..., Any] = vars(torch)["_foreach_neg_"]
"""Negates each tensor, in place."""
add: Callable[..., Any] = vars(torch)["_foreach_add_"]
"""Adds a number to each tensor, in place."""
subtract: Callable[..., Any] = vars(torch)["_foreach_sub_"]
"""Subtracts another tensor from each, in place."""
adamw: Callable[..., Any] = vars(torch)["_fused_adamw_"]
"""Takes a step of AdamW for all tensors, of one device and dtype, in one kernel."""
