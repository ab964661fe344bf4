"""Losses on the attention over the instances of a bag."""

from torch import Tensor

from didact.types import Term


def attention_entropy(attention: Tensor) -> Term:
    """The negative entropy of attention, which falls as it spreads over more instances.

    Zhang et al. (2024), "AEM: Attention entropy maximization for multiple instance learning based whole slide image
    classification", equation 5: the sum over instances of a log a.

    Args:
        attention: float [B, K], 0 or more, with sums of 1.

    Returns:
        In nats, in [-log K, 0]; the count is B.
    """
    attention = attention.float()
    # Without the clamp, the gradient of an instance without any weight would not be finite.
    return Term((attention * attention.clamp(min=1e-12).log()).sum(), float(len(attention)))
