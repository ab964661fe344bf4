"""Entropies of predictions: of each example, and of the mean over a batch."""

import math

from torch import Tensor
from torch.nn import functional as F

from didact.types import Term


def normalised_entropy(logits: Tensor) -> Tensor:
    """The entropy of each prediction, divided by that of the uniform distribution.

    Args:
        logits: float [B, C].

    Returns:
        float32 [B] in [0, 1]; 0 where all mass is on one class.
    """
    log_probs = F.log_softmax(logits.float(), -1)
    return -(log_probs.exp() * log_probs).sum(-1) / math.log(max(2, logits.shape[-1]))


def class_imbalance(logits: Tensor) -> Term:
    """The deviation of a batch from class balance (Chen et al. 2019, "DAFL", section 3.2).

    Args:
        logits: a teacher's, float [B, C].

    Returns:
        log C - H(m) in nats, where m is the mean over the batch of the probabilities and H its entropy: the divergence
        of m from the uniform distribution, in [0, log C]. The count is 1, as it is a property of the whole batch.
    """
    mean = logits.float().softmax(-1).mean(0)
    # Without the clamp, the gradient of a class that no example has would not be finite.
    return Term((mean * mean.clamp(min=1e-12).log()).sum() + math.log(len(mean)), 1.0)
