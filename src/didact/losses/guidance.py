"""Help from outside where a policy's own attempts all fail.

Axis letters: B attempts, N tokens.
"""

from torch import Tensor

from didact.losses.policy import group_sum


def failed_groups(correct: Tensor, group: Tensor) -> Tensor:
    """Which attempts belong to a question that nobody got right.

    Args:
        correct: float [B], above 0 for an attempt that is right.
        group: int64 [B], the same for attempts at one question.

    Returns:
        bool [B].
    """
    return group_sum((correct > 0).float(), group) == 0
