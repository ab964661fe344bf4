"""Scores of how unsure a student is of each example; higher is asked first."""

import torch
from torch import Tensor


def least_confidence(logits: Tensor) -> Tensor:
    """One minus the probability of the likeliest class (Lewis & Gale 1994).

    Args:
        logits: float [N, C].

    Returns:
        float [N], from 0 to 1 - 1 / C.
    """
    return 1.0 - logits.softmax(1).amax(1)


def margin(logits: Tensor) -> Tensor:
    """One minus the difference of the two largest probabilities (Scheffer, Decomain & Wrobel 2001).

    Args:
        logits: float [N, C], with 2 classes or more.

    Returns:
        float [N], from 0 to 1.
    """
    largest = logits.softmax(1).topk(2, dim=1).values
    return 1.0 - (largest[:, 0] - largest[:, 1])


def entropy(logits: Tensor) -> Tensor:
    """The entropy of the predicted class, in nats.

    Args:
        logits: float [N, C].

    Returns:
        float [N], from 0 to log C.
    """
    return _entropy(logits.log_softmax(1))


def bald(logits: Tensor) -> Tensor:
    """What a label would tell about the weights: entropy of the mean prediction, less the mean entropy (Houlsby 2011).

    Args:
        logits: float [M, N, C], of M members of a committee or M draws of dropout (Gal, Islam & Ghahramani 2017).

    Returns:
        float [N], from 0 (all agree) to log min(M, C), in nats.
    """
    log_probs = logits.log_softmax(2)
    mean = log_probs.logsumexp(0) - torch.tensor(float(len(logits))).log()
    return (_entropy(mean) - _entropy(log_probs).mean(0)).clamp(min=0.0)


def disagreement(logits: Tensor, others: Tensor) -> Tensor:
    """The Jensen-Shannon divergence of two predictions, such as those of a student and of the average of its past.

    Args:
        logits: float [N, C].
        others: float [N, C].

    Returns:
        float [N], from 0 to log 2, in nats.
    """
    return bald(torch.stack([logits, others]))


def _entropy(log_probs: Tensor) -> Tensor:
    """Of log-probabilities [..., C], of which some may be -inf: [...]."""
    return -(log_probs.exp() * log_probs.clamp(min=-1e30)).sum(-1)
