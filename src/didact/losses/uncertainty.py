"""How uncertain an answer is."""

import math

from torch import Tensor
from torch.nn import functional as F


def uncertainty(logits: Tensor) -> Tensor:
    """The entropy of each answer over that of a uniform one.

    Args:
        logits: float [B, C].

    Returns:
        float32 [B] in [0, 1]; 0 where all mass is on one class.
    """
    log_probs = F.log_softmax(logits.float(), -1)
    return -(log_probs.exp() * log_probs).sum(-1) / math.log(max(2, logits.shape[-1]))
