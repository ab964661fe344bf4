"""How far a student and a teacher agree on which tokens are likely; nothing here has a gradient.

Axis letters: N tokens, D width, V vocabulary, K likeliest tokens.
"""

import torch
from torch import Tensor

from didact.errors import ConfigError, check_range
from didact.losses.tokens._fused import CHUNK, check_fit
from didact.types import Head


@torch.no_grad()
def topk_overlap(hidden: Tensor, head: Head, teacher_hidden: Tensor, teacher_head: Head, k: int) -> Tensor:
    """The share of a teacher's k likeliest next tokens that are among the student's k likeliest.

    Where the vocabularies differ in size, both are cut to the ids below the smaller. A few tokens at a time are scored,
    so that [N, V] is never held.

    Args:
        hidden: float [N, D], the student's.
        head: the student's.
        teacher_hidden: float [N, D'], of the same tokens.
        teacher_head: the teacher's, whose token ids mean the same.
        k: at least 1, and at most the ids that both have.

    Returns:
        float32 [N] in [0, 1]; 1 where they are the same tokens, in whatever order.

    Raises:
        ConfigError: k out of its range, or hidden states that don't fit their head or each other.
    """
    check_fit(hidden, head)
    check_fit(teacher_hidden, teacher_head)
    if len(hidden) != len(teacher_hidden):
        raise ConfigError(
            f"hidden has {len(hidden)} rows and teacher_hidden {len(teacher_hidden)}; give the same tokens."
        )
    shared = min(head.vocabulary, teacher_head.vocabulary)
    check_range("k", k, at_least=1, at_most=shared)
    head, teacher_head = head.sliced(shared), teacher_head.sliced(shared)
    rows = max(1, CHUNK // shared)
    found = [
        _shared(_likeliest(mine, head, k), _likeliest(theirs, teacher_head, k))
        for mine, theirs in zip(hidden.split(rows), teacher_hidden.split(rows), strict=True)
    ]
    return torch.cat(found)


def _likeliest(hidden: Tensor, head: Head, k: int) -> Tensor:
    """The ids with the highest scores; int64 [R, K]."""
    return head(hidden.to(head.weight.dtype)).topk(k, dim=-1, sorted=False).indices


def _shared(mine: Tensor, theirs: Tensor) -> Tensor:
    """Which share of one set of ids is in the other; float32 [R]."""
    return (mine.unsqueeze(2) == theirs.unsqueeze(1)).any(1).float().mean(1)
