"""The likeliest tokens of a student and a teacher: their overlap, and the teacher's view of the student's.

Axis letters: N tokens, D width, V vocabulary, K likeliest tokens.
"""

import torch
from torch import Tensor

from didact.errors import check_range
from didact.losses.tokens._teacher import check_same_tokens, shared_vocabulary, teacher_scores, token_slices, top_probs
from didact.losses.tokens.rows import CompletionTokens
from didact.types import LEAST_COUNT, LOG_FLOOR, Head, Signal, States, Term, TopK

LIKELIEST = 8
"""Number of likeliest tokens in the metrics of `overlap_terms`."""
LOOKED_AT = 256
"""Number of tokens of a batch at which they are measured."""
METRICS = ("overlap", "overlap_mass", "overlap_advantage", "entropy_gap")
"""What `overlap_terms` measures."""


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


@torch.no_grad()
def overlap_figures(hidden: Tensor, head: Head, signal: Signal, k: int) -> dict[str, Tensor]:
    """What is behind the overlap of likeliest tokens (Li et al. 2026, "Rethinking On-Policy Distillation").

    Args:
        hidden: see `topk_overlap`, as the others.
        head: the student's.
        signal: the teacher's; no `TopK`, which has no distribution.
        k: at least 1.

    Returns:
        float32 [N] each: `overlap`, as `topk_overlap`; `overlap_mass`, the student's probability of the tokens that are
        among the k likeliest of both; `overlap_advantage`, the mean over these of the teacher's log-probability minus
        the student's (0 if there are none); `entropy_gap`, the teacher's entropy minus the student's, in nats.

    Raises:
        ConfigError: k out of range, or hidden states that don't fit their head or the signal.
        TeacherError: the signal has no probabilities of tokens.
    """
    check_range("k", k, at_least=1)
    check_same_tokens(hidden, signal)
    shared = shared_vocabulary(head.vocabulary, signal)
    mine, theirs = teacher_scores(States(hidden=hidden, head=head), shared), teacher_scores(signal, shared)
    parts = list[Tensor]()
    for rows in token_slices(len(hidden), shared):
        own, other = (side.scores(rows).log_softmax(-1).clamp_min(LOG_FLOOR) for side in (mine, theirs))
        ids, told = (side.topk(min(k, shared), -1).indices for side in (own, other))
        both = (ids.unsqueeze(2) == told.unsqueeze(1)).any(2)
        first, second = own.gather(1, ids), other.gather(1, ids)
        share, mass = both.float().mean(1), (first.exp() * both).sum(1)
        advantage = ((second - first) * both).sum(1) / both.sum(1).clamp(min=1)
        gap = (own.exp() * own).sum(1) - (other.exp() * other).sum(1)
        parts.append(torch.stack([share, mass, advantage, gap]))
    return dict(zip(METRICS, torch.cat(parts, 1).float(), strict=True))


def overlap_terms(rows: CompletionTokens, signal: Signal) -> dict[str, Term]:
    """The overlap of teacher and student and its figures as metrics, estimated at evenly spaced tokens.

    Args:
        rows: the student's tokens.
        signal: the teacher's, of the same tokens; of `TopK`, the overlap alone is known.
    """
    tokens = len(rows.targets)
    some = slice(None, None, -(-tokens // LOOKED_AT))
    hidden, told = rows.hidden[some], signal.rows(some)
    if isinstance(told, TopK):
        found = {"overlap": topk_overlap(hidden, rows.head, told, LIKELIEST)}
    else:
        found = overlap_figures(hidden, rows.head, told, LIKELIEST)
    if rows.weight is None:
        return {name: Term(value.mean() * tokens, tokens, 0.0) for name, value in found.items()}
    weight, count = rows.weight[some], rows.weight.sum()
    share = count / weight.sum().clamp_min(LEAST_COUNT)
    return {name: Term((value * weight).sum() * share, count, 0.0) for name, value in found.items()}


@torch.no_grad()
def at_likeliest(hidden: Tensor, head: Head, signal: Signal, k: int) -> TopK:
    """What a teacher says of the student's k likeliest tokens, and of all others together.

    Args:
        hidden: see `topk_overlap`, as the others.
        head: the student's.
        signal: the teacher's; no `TopK`.
        k: at least 1; at most the size of the smaller vocabulary is used.

    Returns:
        The signal of `token_divergence` for N tokens, with the trust of the teacher's.

    Raises:
        ConfigError: k out of range, or hidden states that don't fit their head or the signal.
        TeacherError: the signal has no probabilities of tokens.
    """
    check_range("k", k, at_least=1)
    check_same_tokens(hidden, signal)
    shared = shared_vocabulary(head.vocabulary, signal)
    mine, theirs = teacher_scores(States(hidden=hidden, head=head), shared), teacher_scores(signal, shared)
    ids, log_probs, tails = list[Tensor](), list[Tensor](), list[Tensor]()
    for rows in token_slices(len(hidden), shared):
        ids.append(mine.scores(rows).topk(min(k, shared), -1).indices)
        probs = theirs.scores(rows).log_softmax(-1)
        log_probs.append(probs.gather(1, ids[-1]))
        # Summed over the others: 1 minus the k would lose a small tail.
        tails.append(probs.exp().scatter(1, ids[-1], 0.0).sum(1))
    return TopK(ids=torch.cat(ids), log_probs=torch.cat(log_probs), tail=torch.cat(tails), trust=signal.effective_trust)


def _shared(mine: Tensor, theirs: Tensor) -> Tensor:
    """The share of one set of ids that is in the other; float32 [R]."""
    return (mine.unsqueeze(2) == theirs.unsqueeze(1)).any(1).float().mean(1)
