"""Early-learning regularisation: what a net predicted before it memorised wrong labels."""

from torch import Tensor

from didact.losses._weigh import weigh
from didact.types import Term

LEAST_PROB = 1e-4
"""The bound of probabilities of Liu et al.'s code, from below and, as its complement, from above."""


def bounded_probs(logits: Tensor) -> Tensor:
    """Probabilities between `LEAST_PROB` and its complement; they need not add up to 1.

    Args:
        logits: float [B, C].

    Returns:
        float32 [B, C].
    """
    return logits.float().softmax(-1).clamp(LEAST_PROB, 1.0 - LEAST_PROB)


def early_learning(logits: Tensor, target: Tensor, *, trust: Tensor | None = None) -> Term:
    """The regulariser of Liu, Niles-Weed, Razavian & Fernandez-Granda (2020): log(1 - <p, t>).

    It is least where the predictions p are sure of what the target t says. Its gradient keeps that of the labels alive
    where both agree, and cancels it where a label contradicts the target.

    Args:
        logits: float [B, C].
        target: float [B, C], averages of earlier predictions, each with a sum of at most 1; no gradient flows into it.
        trust: float [B] in [0, 1].

    Returns:
        The sum over examples, 0 or less.
    """
    agreement = (bounded_probs(logits) * target.detach()).sum(-1)
    return weigh((1.0 - agreement).log(), trust)
