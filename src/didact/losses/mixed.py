"""The loss of inputs that are mixtures of two examples."""

from torch import Tensor

from didact.losses.classification import cross_entropy
from didact.types import Term


def mixed_cross_entropy(
    logits: Tensor, labels: Tensor, others: Tensor, share: Tensor | float, *, trust: Tensor | None = None
) -> Term:
    """Cross-entropy of mixtures, `share` of one example and the rest of another (Zhang et al. 2018, mixup).

    Args:
        logits: float [B, C], of the mixtures.
        labels: int64 [B], of the first examples; `IGNORE` is left out of the sum and of the count.
        others: int64 [B], of the second examples; likewise.
        share: in [0, 1], how much of the first there is: a number or a scalar tensor.
        trust: float [B] in [0, 1], a weight of each mixture in the sum and in the count.

    Returns:
        The sum of share · cross-entropy with the first label and 1 - share of that with the second; the count weighs
        what there was in the same way.
    """
    first, second = (cross_entropy(logits, one, trust=trust) for one in (labels, others))
    rest = 1.0 - share
    return Term(share * first.sum + rest * second.sum, share * first.count + rest * second.count)
