"""The entropy of the mean prediction of a batch."""

import math

from torch import Tensor

from didact.types import Term


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
