"""The entropy of predictions: of each example, and of their mean over a batch; and how even its classes are."""

import math

import torch
from torch import Tensor

from didact.losses._weigh import weigh
from didact.types import Term


def prediction_entropy(logits: Tensor, *, trust: Tensor | None = None) -> Term:
    """The entropy of each example's prediction (Grandvalet and Bengio 2005).

    Args:
        logits: float [B, C].
        trust: float [B] in [0, 1].

    Returns:
        The sum of -sum_c p_c log p_c over examples, in nats, and their number.
    """
    log_probs = logits.float().log_softmax(-1)
    return weigh(-(log_probs.exp() * log_probs).sum(-1), trust)


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


def fairness(logits: Tensor, probs: Tensor, histogram: Tensor, *, trust: Tensor) -> Term:
    """Self-adaptive fairness (Wang et al. 2023, FreeMatch, equation 11).

    Both the mean prediction of a batch and the moving average are divided, class by class, by the share of examples
    that are predicted as the class, and normalised; the term is the sum of the second times the log of the first.

    Args:
        logits: the student's on strong views, float [B, C].
        probs: float [C], the moving average of its mean probabilities; no gradient flows into it.
        histogram: float [C], that of the shares of its predictions.
        trust: float [B], 1 for the examples that count, and 0 for others.

    Returns:
        The sum over classes, 0 where no example counts, in nats; the count is 1, as it is a property of the whole
        batch.
    """
    found = logits.float().softmax(-1)
    number = trust.sum()
    share = (trust / number.clamp(min=1.0)).unsqueeze(1)
    shares = torch.zeros_like(found).scatter_(1, logits.argmax(-1, keepdim=True), share).sum(0)
    wanted = _per_share(probs, histogram)
    mean = _per_share((found * share).sum(0), shares)
    return Term((wanted * (mean + 1e-12).log()).sum() * (number > 0), 1.0)


def _per_share(probs: Tensor, shares: Tensor) -> Tensor:
    """Probabilities over shares, 0 where a share is, and normalised."""
    scaled = torch.where(shares > 0, probs / shares.clamp(min=1e-12), 0.0)
    return scaled / scaled.sum().clamp(min=1e-12)
