"""The algebra of signals: mixing, corrupting and truncating them to their likeliest outcomes, for every kind of signal.

A signal that holds its scores is changed at once. For the states of a language model the change is deferred (`Derived`)
and computed for a few tokens at a time, so that no [B, T, V] is ever held. No result carries a gradient.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from didact.documents import Document
from didact.errors import TeacherError, check_range
from didact.types.scores import Space, demote_top, log_probs_of, mix_log_probs, swap_top, top_log_probs, top_scores
from didact.types.signals import Derived, Features, Labels, Logits, Signal, TopK

CHUNK = 2**24
"""The number of scores that `keep_top` computes at once."""
_TENSORS = {kind.__name__: kind for kind in (Logits, Labels, TopK, Features)}
"""The kinds of signal that consist of tensors alone."""


@torch.no_grad()
def mix(
    signals: Sequence[Signal],
    weights: Sequence[float] | Tensor,
    *,
    space: Space = "probability",
    by_confidence: bool = False,
) -> Logits | Derived:
    """The weighted mean of the signals of M teachers.

    Each weight is multiplied by the signal's trust, so that a teacher that abstains does not count. The trust in the
    mean is the weighted mean trust of those that did not abstain. Where all abstain it is 0, and the plain weights
    apply.

    Args:
        signals: M of the same shape, [B] or [B, T].
        weights: float [M] or [..., M], 0 or more, at least one of a row above 0.
        space: `probability` averages probabilities; `logit` averages log-probabilities, which gives the normalised
            geometric mean of the probabilities.
        by_confidence: also multiply each weight by the `confidence` of the signal, which leaves the trust in the mean
            as it is.

    Raises:
        TeacherError: signals of different shapes, or one without probabilities of classes or tokens.
    """
    shape = signals[0].shape
    if any(signal.shape != shape for signal in signals):
        shapes = ", ".join(str(list(signal.shape)) for signal in signals)
        raise TeacherError(f"Teachers answer about {shapes} examples or tokens; all must be shown the same batch.")
    given = weights if isinstance(weights, Tensor) else torch.tensor(weights, device=signals[0].device)
    say, trust = _shares(given.float().expand(*shape, len(signals)), [signal.effective_trust for signal in signals])
    return Derived(
        function=partial(mix_log_probs, space=space, by_confidence=by_confidence),
        parts=tuple(signals),
        tensors=(say,),
        trust=trust,
    ).materialise()


@torch.no_grad()
def mix_targets(signals: Sequence[Labels], weights: Sequence[float] | Tensor) -> Labels:
    """The weighted mean of the regression targets of M teachers.

    Args:
        signals: M of targets, float [B]; their trust counts as in `mix`.
        weights: float [M], 0 or more, at least one above 0.
    """
    targets = torch.stack([signal.labels.float() for signal in signals], -1)
    say, trust = _shares(torch.as_tensor(weights).to(targets).expand_as(targets), [signal.trust for signal in signals])
    return Labels(labels=(say / say.sum(-1, keepdim=True) * targets).sum(-1), trust=trust)


def abstain(signal: Signal, where: Tensor) -> Any:
    """The same signal, without trust in some rows.

    Args:
        signal: any.
        where: bool [...], the rows that are not to count.
    """
    trust = signal.effective_trust
    kept = (~where).float() if trust is None else trust * ~where
    return dataclasses.replace(signal, trust=kept)  # pyright: ignore[reportArgumentType]


@torch.no_grad()
def spread(signal: Signal, rows: Tensor, size: int) -> Any:
    """A signal of some rows as one of all, without trust in the others, whose tensors are 0 there.

    Args:
        signal: [K] or [K, T].
        rows: int64 [K], where its rows stand.
        size: how many rows there are, B.

    Returns:
        The signal [B] or [B, T].
    """
    trust, rows = signal.effective_trust, rows.to(signal.device)
    full = torch.ones(signal.shape, device=signal.device) if trust is None else trust
    known = dataclasses.replace(signal, trust=full)  # pyright: ignore[reportArgumentType]
    return known.map(lambda tensor: tensor.new_zeros(size, *tensor.shape[1:]).index_copy(0, rows, tensor.detach()))


@torch.no_grad()
def choose(where: Tensor, signal: Signal, other: Signal) -> Logits:
    """One signal in some rows, and another in the rest.

    Args:
        where: bool [B].
        signal: of B examples, whose number of classes is known.
        other: likewise.
    """
    trusts = [
        where.new_ones(where.shape).float() if (t := one.effective_trust) is None else t for one in (signal, other)
    ]
    scores = torch.where(where.unsqueeze(-1), signal.log_softmax(), other.log_softmax())
    return Logits(logits=scores, trust=torch.where(where, trusts[0], trusts[1]))


@torch.no_grad()
def add_noise(signal: Signal, where: Tensor, draw: Tensor) -> Signal:
    """Swap the probability of the best outcome with that of another one.

    Args:
        signal: for `TopK`, the other outcome is among its K.
        where: bool [...], the rows in which it is done.
        draw: float [...] in [0, 1), which selects the other outcome; all are equally likely.

    Raises:
        TeacherError: the signal has no probabilities of classes or tokens.
    """
    return _with_scores(signal, swap_top, where, draw)


@torch.no_grad()
def demote(signal: Signal, strength: float = 1.0) -> Signal:
    """Move a share of the probability of the best outcome to the second best.

    Args:
        signal: any.
        strength: the share, in (0, 1].

    Raises:
        TeacherError: the signal has no probabilities of classes or tokens.
    """
    if isinstance(signal, TopK):
        return _with_scores(signal, partial(demote_top, strength=strength))
    return _with_scores(signal, partial(_demote_best, strength=strength))


def _demote_best(scores: Tensor, *, strength: float) -> Tensor:
    return demote_top(log_probs_of(scores), strength).to(scores.dtype)


def _with_scores(signal: Signal, function: Callable[..., Tensor], *tensors: Tensor) -> Signal:
    """The signal with a function applied to its scores [..., V] and to tensors [...]."""
    if isinstance(signal, Features):
        return dataclasses.replace(signal, logits=function(signal.scores(), *tensors))
    if isinstance(signal, TopK):
        if signal.ids.shape[-1] < 2:
            raise TeacherError("The teacher names the likeliest outcome alone, so that there is no other; keep two.")
        return dataclasses.replace(signal, log_probs=function(signal.log_probs, *tensors))
    return Derived(
        function=lambda parts, *rest: function(*parts, *rest),
        parts=(signal,),
        tensors=tensors,
        trust=signal.effective_trust,
    ).materialise()


@torch.no_grad()
def keep_top(signal: Signal, top_k: int) -> TopK:
    """The likeliest outcomes of each row, and the probability of all others together; a few rows at a time.

    Args:
        signal: any; for `TopK`, the outcomes that are not kept join the tail.
        top_k: K, at least 1; all outcomes where there are fewer.

    Raises:
        TeacherError: the signal has no probabilities of classes or tokens.
    """
    check_range("top_k", top_k, at_least=1)
    if isinstance(signal, TopK):
        places, log_probs, rest = top_log_probs(signal.log_probs, top_k)
        return TopK(ids=signal.ids.gather(-1, places), log_probs=log_probs, tail=signal.tail + rest, trust=signal.trust)
    flat = signal.flatten().upcast()
    size = max(1, CHUNK // (flat.outcomes or 1))
    starts = range(0, max(1, flat.shape[0]), size)
    parts = [top_scores(flat.rows(slice(at, at + size)).scores(), top_k) for at in starts]
    ids, log_probs, tail = (torch.cat(found).unflatten(0, signal.shape) for found in zip(*parts, strict=True))
    return TopK(ids=ids, log_probs=log_probs, tail=tail, trust=signal.effective_trust)


def densify(signal: Signal, outcomes: int | None) -> Signal:
    """Convert a signal without a known number of classes into one that has it.

    Args:
        signal: any.
        outcomes: the number of classes; None leaves the signal as it is.

    Returns:
        `Logits` for hard labels and top-k [B]; other signals as they are.
    """
    named = isinstance(signal, TopK) or (isinstance(signal, Labels) and not signal.dense)
    if outcomes is None or not named or len(signal.shape) > 1:
        return signal
    return Logits(logits=signal.scores(outcomes), trust=signal.effective_trust)


def to_tensors(signal: Signal) -> dict[str, Tensor]:
    """The tensors of a signal by name, with one entry per row, without a gradient.

    Raises:
        TeacherError: it consists of more than tensors (a language model's head); `keep_top` returns one that does not.
    """
    if type(signal).__name__ not in _TENSORS:
        raise TeacherError(
            f"The teacher gives {type(signal).__name__}, which can't be stored as it is; store its likeliest "
            "outcomes (keep_top)."
        )
    found = dict[str, Tensor]()
    for name, value in signal.fields().items():
        if isinstance(value, Tensor):
            found[name] = value.detach()
        elif isinstance(value, Mapping):
            found |= {f"{name}.{key}": tensor.detach() for key, tensor in value.items()}
    return found


def from_tensors(kind: str, tensors: Mapping[str, Tensor]) -> Signal:
    """Rebuild a signal from the result of `to_tensors`.

    Args:
        kind: the name of its class.
        tensors: by name.
    """
    fields: Document = {name: tensor for name, tensor in tensors.items() if "." not in name}
    if kind == "Features":
        fields["features"] = {name.partition(".")[2]: tensor for name, tensor in tensors.items() if "." in name}
    return _TENSORS[kind](**fields)


def _shares(weights: Tensor, trusts: Sequence[Tensor | None]) -> tuple[Tensor, Tensor | None]:
    """Each member's weight [..., M], at least one of them above 0, and the trust in the mean [...]."""
    if all(trust is None for trust in trusts):
        return weights, None
    full = weights.new_ones(weights.shape[:-1])
    trust = torch.stack([full if trust is None else trust.to(full) for trust in trusts], -1)
    say, voiced = weights * trust, (weights * (trust > 0)).sum(-1)
    total = say.sum(-1)
    return torch.where((total > 0).unsqueeze(-1), say, weights), total / torch.where(voiced > 0, voiced, 1.0)
