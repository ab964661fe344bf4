"""The overlap of a student's and a teacher's likeliest tokens, without a gradient.

Axis letters: N tokens, D width, V vocabulary, K likeliest tokens.
"""

import torch
from torch import Tensor

from didact.errors import check_range
from didact.losses.tokens._teacher import check_same_tokens, shared_vocabulary, teacher_scores, token_slices, top_probs
from didact.types import Head, Signal, States, TopK


@torch.no_grad()
def topk_overlap(hidden: Tensor, head: Head, signal: Signal, k: int) -> Tensor:
    """The share of a teacher's k likeliest next tokens that are among the student's k likeliest.

    Where the vocabularies differ in size, both are cut to the ids below the smaller. Tokens are scored a few at a time,
    so that [N, V] is never held.

    Args:
        hidden: float [N, D], the student's.
        head: the student's.
        signal: the teacher's, of the same tokens, [N]; its ids mean the same.
        k: at least 1; at most the size of the smaller vocabulary is used.

    Returns:
        float32 [N] in [0, 1]; 1 where they are the same tokens, in any order.

    Raises:
        ConfigError: k out of range, or hidden states that don't fit their head or the signal.
        TeacherError: the signal has no probabilities of tokens.
    """
    check_range("k", k, at_least=1)
    check_same_tokens(hidden, signal)
    shared = shared_vocabulary(head.vocabulary, signal)
    k = min(k, shared, signal.ids.shape[-1] if isinstance(signal, TopK) else shared)
    mine = teacher_scores(States(hidden=hidden, head=head), shared)
    likeliest = top_probs(signal, shared, k)[0]
    parts = token_slices(len(hidden), shared)
    return torch.cat([_shared(mine.scores(rows).topk(k, -1).indices, likeliest[rows]) for rows in parts])


def _shared(mine: Tensor, theirs: Tensor) -> Tensor:
    """The share of one set of ids that is in the other; float32 [R]."""
    return (mine.unsqueeze(2) == theirs.unsqueeze(1)).any(1).float().mean(1)
