"""torch's operations on lists of tensors, which it has under private names."""

from collections.abc import Callable
from typing import Any

import torch

norms: Callable[..., list[torch.Tensor]] = vars(torch)["_foreach_norm"]
"""The norm of each tensor."""
multiply: Callable[..., Any] = vars(torch)["_foreach_mul_"]
"""Multiplies each tensor, in place."""
negate: Callable[..., Any] = vars(torch)["_foreach_neg_"]
"""Turns the sign of each tensor, in place."""
