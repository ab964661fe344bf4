"""Arithmetic on scores of outcomes: the row-wise operations behind the algebra of signals.

Scores are unnormalised log-probabilities [..., V] of V classes or tokens; adding a constant to a row changes nothing,
and minus infinity stands for probability 0. No gradient is needed of anything here. M is the number of members.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

LOG_FLOOR = -100.0
"""The lowest log-probability, in place of minus infinity; about the lowest that float32 can hold."""
_CACHED = 2**19
"""The number of scores that are worked on at a time where several operations follow on the same ones: 2 MiB."""
LEAST_CONFIDENCE = 1e-6
"""Added to each member's confidence, so that the weights are defined where every member is uniform."""

Space = Literal["probability", "logit"]
"""The space of the average: probabilities, or log-probabilities, which gives the normalised geometric mean."""


def log_probs_of(scores: Tensor, temperature: float = 1.0) -> Tensor:
    """Log-probabilities [..., V] of scores over a temperature, in float32 or wider; no less than `LOG_FLOOR`."""
    wide = scores.to(torch.promote_types(scores.dtype, torch.float32))
    return F.log_softmax(wide / temperature, -1).clamp(min=LOG_FLOOR)


def top_log_probs(log_probs: Tensor, top_k: int) -> tuple[Tensor, Tensor, Tensor]:
    """The K highest of log-probabilities [..., V].

    Returns:
        Their indices int64 [..., K], highest first; their values [..., K]; and the total probability of all others,
        float [...], summed over these rather than subtracted from 1, so that a small one is not rounded away.
    """
    found = log_probs.topk(min(top_k, log_probs.shape[-1]), -1)
    tail = log_probs.exp().scatter(-1, found.indices, 0.0).sum(-1)
    return found.indices, found.values, tail


def top_scores(scores: Tensor, top_k: int) -> tuple[Tensor, Tensor, Tensor]:
    """`top_log_probs(log_probs_of(scores), top_k)` in a third of the time, as what it computes with stays in the cache.

    Args:
        scores: [N, V].
        top_k: K.
    """
    found = [_top_scores(part, top_k) for part in scores.split(max(1, _CACHED // scores.shape[-1]))]
    ids, log_probs, tail = (torch.cat(parts) for parts in zip(*found, strict=True))
    return ids, log_probs, tail


def _top_scores(scores: Tensor, top_k: int) -> tuple[Tensor, Tensor, Tensor]:
    wide = scores.to(torch.promote_types(scores.dtype, torch.float32))
    top = wide.topk(min(top_k, wide.shape[-1]), -1)
    highest = top.values[..., :1]
    shares = (wide - highest).exp_()
    total = shares.sum(-1, keepdim=True)
    rest = shares.scatter_(-1, top.indices, 0.0).sum(-1)
    return top.indices, (top.values - highest - total.log()).clamp(min=LOG_FLOOR), rest / total.squeeze(-1)


def swap_top(scores: Tensor, where: Tensor, draw: Tensor) -> Tensor:
    """Swap the best outcome's score with that of another one.

    Args:
        scores: float [..., V].
        where: bool [...], the rows in which it is done.
        draw: float [...] in [0, 1), which selects the other one; all are equally likely.

    Returns:
        As `scores`, with the same scores in each row.
    """
    best, count = scores.argmax(-1), scores.shape[-1]
    other = (best + 1 + (draw * (count - 1)).long()) % count
    pair = torch.stack([best, torch.where(where, other, best)], -1)
    return scores.scatter(-1, pair, scores.gather(-1, pair.flip(-1)))


def demote_top(log_probs: Tensor, strength: float) -> Tensor:
    """Move probability from the best outcome to the second best; among ties for the second, to the next in order.

    Args:
        log_probs: float [..., V].
        strength: in (0, 1], the share of the best outcome's probability that is moved.

    Returns:
        Log-probabilities as `log_probs`, no less than `LOG_FLOOR`.
    """
    best = log_probs.argmax(-1, keepdim=True)
    highest = log_probs.gather(-1, best)
    others = log_probs.scatter(-1, best, -math.inf)
    count = log_probs.shape[-1]
    later = (torch.arange(count, device=best.device) - best) % count
    second = torch.where(others == others.amax(-1, keepdim=True), later, count).argmin(-1, keepdim=True)
    raised = torch.logaddexp(others.gather(-1, second), highest + math.log(strength))
    left = highest + math.log1p(-strength) if strength < 1.0 else torch.full_like(highest, LOG_FLOOR)
    return log_probs.scatter(-1, second, raised).scatter(-1, best, left).clamp(min=LOG_FLOOR)


def confidence(log_probs: Tensor) -> Tensor:
    """The confidence of each row [..., V]: 1 - H / log V, with the entropy H; float [...] in [0, 1]."""
    entropy = -torch.linalg.vecdot(log_probs.exp(), log_probs)
    return (1.0 - entropy / math.log(max(log_probs.shape[-1], 2))).clamp(min=0.0)


def jensen_shannon(log_probs: Tensor, say: Tensor) -> Tensor:
    """How far M distributions lie apart: the Jensen-Shannon divergence `H(sum w p) - sum w H(p)` in nats (Lin 1991).

    Args:
        log_probs: float [M, ..., V].
        say: float [..., M], 0 or more, each one's weight; they are normalised. Where all are 0, so is the divergence.

    Returns:
        float [...], from 0, where all are equal, to the entropy of the weights, at most log M.
    """
    share = (say / say.sum(-1, keepdim=True).clamp(min=torch.finfo(say.dtype).tiny)).movedim(-1, 0).unsqueeze(-1)
    mean = (share * log_probs.exp()).sum(0)
    inside = (share.squeeze(-1) * torch.linalg.vecdot(log_probs.exp(), log_probs)).sum(0)
    return (inside - torch.xlogy(mean, mean).sum(-1)).clamp(min=0.0)


def most_confident(parts: Sequence[Tensor]) -> Tensor:
    """The distribution of the member with the highest `confidence` in each row; of equals, the first.

    Args:
        parts: M scores, float [..., V].

    Returns:
        Log-probabilities float [..., V].
    """
    log_probs = torch.stack([log_probs_of(scores) for scores in parts])
    best = confidence(log_probs).argmax(0)
    return log_probs.gather(0, best[None, ..., None].expand(1, *log_probs.shape[1:]))[0]


def mix_log_probs(parts: Sequence[Tensor], say: Tensor, *, space: Space, by_confidence: bool = False) -> Tensor:
    """The weighted mean of the distributions of M members.

    Args:
        parts: M scores, float [..., V].
        say: float [..., M], 0 or more, each member's weight in each row; at least one is above 0.
        space: see `Space`.
        by_confidence: multiply each weight by the member's `confidence` in the row.

    Returns:
        Scores float [..., V], in the widest dtype of the parts; for `probability` they are log-probabilities.
    """
    log_probs = [log_probs_of(scores) for scores in parts]
    if by_confidence:
        say = say * torch.stack([confidence(one) + LEAST_CONFIDENCE for one in log_probs], -1)
    share = (say / say.sum(-1, keepdim=True)).unbind(-1)
    if space == "logit":
        found = torch.stack([one * part.unsqueeze(-1) for one, part in zip(log_probs, share, strict=True)]).sum(0)
    else:
        found = torch.stack([one + part.log().unsqueeze(-1) for one, part in zip(log_probs, share, strict=True)])
        found = found.logsumexp(0)
    kind = parts[0].dtype
    for scores in parts[1:]:
        kind = torch.promote_types(kind, scores.dtype)
    return found.to(kind)
