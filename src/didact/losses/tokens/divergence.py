"""Divergences between a student's and a teacher's next-token distributions, without [N, V] scores in memory.

P is the teacher, Q the student. As in `losses.classes.divergence`, both sides are at the temperature, and the loss is
multiplied by its square. No gradient flows into the teacher. For gradients, see `losses.tokens.vocabulary`.

Axis letters: N selected tokens, R those of a block, V vocabulary, D width, K most probable tokens.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from didact.errors import ConfigError, check_choice, check_range
from didact.losses.tokens._fused import cache_blocks, fused_loss
from didact.losses.tokens._teacher import (
    apply_trust,
    check_hard_tail,
    check_same_tokens,
    shared_vocabulary,
    teacher_scores,
)
from didact.types import LOG_FLOOR, Head, Signal, Term, TopK

Kind = Literal["forward", "reverse", "jsd", "scaled_jsd"]
Kernel = Callable[[Tensor, Tensor], Tensor]
"""Takes scores of student and teacher [R, V], replaces the former by the gradient, and returns the divergences [R]."""
EXP_LIMIT = 85.0
"""The bound on differences of log-probabilities, whose exponential float32 can hold."""


def token_divergence(
    hidden: Tensor,
    head: Head,
    signal: Signal,
    *,
    kind: Kind = "forward",
    beta: float = 0.5,
    temperature: float = 1.0,
    weight: Tensor | None = None,
) -> Term:
    """A divergence of a student's next-token distributions from a teacher's.

    Where the vocabularies differ in size, both are cut to the ids below the smaller, and renormalised. For `TopK`, see
    `token_topk_divergence`.

    Args:
        hidden: float [N, D], the student's.
        head: the student's.
        signal: the teacher's, of the same tokens, [N]; its ids mean the same. No gradient flows into it. Its trust is
            multiplied into `weight`.
        kind: `forward` is KL(P || Q) and `reverse` KL(Q || P); `jsd` is the Jensen-Shannon divergence of Agarwal et al.
            (2024, GKD), b KL(P || M) + (1 - b) KL(Q || M) with M = b P + (1 - b) Q; `scaled_jsd` is that divided by
            b (1 - b), which goes continuously from `forward` at b = 0 to `reverse` at 1.
        beta: b, in [0, 1]; strictly between for `jsd`, which is 0 at either end.
        temperature: above 0; divides the scores of both. 1 for `TopK`, whose tail can't be softened.
        weight: float [N], 0 or more; None for 1 each. A token of weight 0 is left out.

    Returns:
        The sum over tokens of weight · temperature² · divergence in nats, and the total weight.

    Raises:
        ConfigError: an option out of range, or hidden states that don't fit their head or the signal.
        TeacherError: the signal has no probabilities of tokens.
    """
    if isinstance(signal, TopK):
        check_hard_tail(temperature)
        return token_topk_divergence(hidden, head, signal, kind=kind, beta=beta, weight=weight)
    kernel = _kernel(kind, beta)
    check_range("temperature", temperature, above=0.0)
    check_same_tokens(hidden, signal)
    shared = shared_vocabulary(head.vocabulary, signal)
    theirs = teacher_scores(signal, shared, temperature)

    def objective(scores: Tensor, rows: slice) -> Tensor:
        parts = cache_blocks(scores, theirs.scores(rows))
        return torch.cat([kernel(*part) for part in parts])

    return fused_loss(hidden, head.slice(shared), objective, apply_trust(weight, signal), temperature=temperature)


def token_topk_divergence(
    hidden: Tensor,
    head: Head,
    signal: TopK,
    *,
    kind: Kind = "forward",
    beta: float = 0.5,
    temperature: float = 1.0,
    weight: Tensor | None = None,
) -> Term:
    """A divergence of a student's next-token distributions from the most probable tokens of a teacher.

    All other tokens together are one more outcome, the tail, on both sides; without it the divergence could go below 0.
    Ids that the student's head doesn't have are left out, and the rest is renormalised. Where the student has more ids
    than the teacher, cut its head to the teacher's with `Head.slice`; they are part of the tail otherwise.

    Args:
        hidden: float [N, D], the student's.
        head: the student's, of V ids.
        signal: `ids` int64 [N, K] without repetition, `log_probs` float [N, K] (-inf leaves an id to the tail), `tail`
            float [N], at the temperature: a tail that was cut off at another can't be softened. Its `trust` [N] is
            multiplied into `weight`.
        kind: as for `token_divergence`.
        beta: as for `token_divergence`.
        temperature: above 0; divides the student's scores.
        weight: float [N], 0 or more; None for 1 each.

    Returns:
        The sum over tokens of weight · temperature² · divergence in nats, and the total weight.

    Raises:
        ConfigError: an option out of range, or shapes that don't fit.
    """
    kernel = _kernel(kind, beta)
    check_same_tokens(hidden, signal)
    log_probs = signal.log_probs.detach().float()
    there = (signal.ids < head.vocabulary) & (log_probs > -torch.inf)
    # A tail of exactly 0 gets a finite logarithm, so that the distribution is defined where no id is present.
    tail = signal.tail.detach().float().clamp_min(torch.finfo(torch.float32).tiny).log()
    theirs = torch.cat([log_probs.masked_fill(~there, -torch.inf), tail.unsqueeze(-1)], -1)
    ids = signal.ids.masked_fill(~there, 0)

    def objective(scores: Tensor, rows: slice) -> Tensor:
        parts = cache_blocks(scores, ids[rows], there[rows], theirs[rows])
        return torch.cat([_on_outcomes(*part, kernel=kernel) for part in parts])

    return fused_loss(hidden, head, objective, apply_trust(weight, signal), temperature=temperature)


def _on_outcomes(scores: Tensor, ids: Tensor, there: Tensor, theirs: Tensor, *, kernel: Kernel) -> Tensor:
    """The divergence [R] over K ids and the tail, from scores [R, V], which become the gradient."""
    chosen = scores.gather(1, ids).masked_fill_(~there, -torch.inf)
    # The minimum, because a missing id is stored as 0, which may also be a present id.
    away = torch.where(there, -torch.inf, torch.inf).to(scores.dtype)
    scores.scatter_reduce_(1, ids, away, "amin")
    shift = scores.amax(1, keepdim=True).clamp_min_(torch.finfo(scores.dtype).min)
    mass = scores.sub_(shift).exp_().sum(1, keepdim=True)
    outcomes = torch.cat([chosen, mass.log() + shift], 1)
    losses = kernel(outcomes, theirs.to(scores.dtype))
    of_chosen, of_tail = outcomes[:, :-1], outcomes[:, -1:]
    # The tail's gradient is distributed over its tokens by their share of it.
    scores.mul_(of_tail / mass.clamp_min(torch.finfo(scores.dtype).tiny))
    scores.scatter_add_(1, ids, of_chosen.masked_fill(~there, 0.0))
    return losses


def _kernel(kind: Kind, beta: float) -> Kernel:
    check_choice("kind", kind, ("forward", "reverse", "jsd", "scaled_jsd"))
    check_range("beta", beta, at_least=0.0, at_most=1.0)
    if kind == "jsd" and beta in (0.0, 1.0):
        raise ConfigError(
            f"beta is {beta:g}, where the divergence as written is 0 for all distributions; "
            "choose beta strictly between 0 and 1, or kind='scaled_jsd'."
        )
    if kind == "forward" or (kind == "scaled_jsd" and beta == 0.0):
        return _forward
    if kind == "reverse" or (kind == "scaled_jsd" and beta == 1.0):
        return _reverse
    return partial(_jensen_shannon, beta=beta, scaled=kind == "scaled_jsd")


def _forward(scores: Tensor, theirs: Tensor) -> Tensor:
    log_q, log_p = _log_probs(scores, scores), _log_probs(theirs, scores)
    p = _probs(theirs, scores)
    losses = torch.linalg.vecdot(p, log_p.sub_(log_q))
    torch.sub(_probs(scores, scores), p, out=scores)
    return losses


def _reverse(scores: Tensor, theirs: Tensor) -> Tensor:
    log_q, log_p = _log_probs(scores, scores), _log_probs(theirs, scores)
    excess = torch.sub(log_q, log_p, out=log_p)
    q = _probs(scores, scores)
    losses = torch.linalg.vecdot(q, excess)
    torch.mul(q, excess.sub_(losses.unsqueeze(1)), out=scores)
    return losses


def _jensen_shannon(scores: Tensor, theirs: Tensor, *, beta: float, scaled: bool) -> Tensor:
    """With d = log p - log q, log q / m is -log(1 + b (e^d - 1)) and log p / m is -log(1 + (1 - b) (e^-d - 1)).

    Whichever of them vanishes at the nearer end is computed, and the other derived, so that no digits are lost there.
    """
    log_q, log_p = _log_probs(scores, scores), _log_probs(theirs, scores)
    p, q = _probs(theirs, scores), _probs(scores, scores)
    d = log_p.sub_(log_q).clamp_(-EXP_LIMIT, EXP_LIMIT)
    if beta <= 0.5:
        student_excess = torch.expm1(d, out=log_q).mul_(beta).log1p_().neg_()
        teacher_excess = d.add_(student_excess)
    else:
        teacher_excess = torch.expm1(d.neg(), out=log_q).mul_(1.0 - beta).log1p_().neg_()
        student_excess = torch.sub(teacher_excess, d, out=d)
    of_teacher = torch.linalg.vecdot(p, teacher_excess)
    of_student = torch.linalg.vecdot(q, student_excess)
    torch.mul(q, student_excess.sub_(of_student.unsqueeze(1)), out=scores)
    scores.mul_(1.0 / beta if scaled else 1.0 - beta)
    if scaled:
        return of_teacher / (1.0 - beta) + of_student / beta
    return beta * of_teacher + (1.0 - beta) * of_student


def _probs(scores: Tensor, like: Tensor) -> Tensor:
    # On a CPU this is faster than the exponential alone.
    return torch.softmax(scores, -1).to(like.dtype)


def _log_probs(scores: Tensor, like: Tensor) -> Tensor:
    # The floor avoids 0 times minus infinity, where a vocabulary is padded with scores of minus infinity.
    return torch.log_softmax(scores, -1).to(like.dtype).clamp_min_(LOG_FLOOR)
