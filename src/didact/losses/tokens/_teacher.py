"""A teacher's scores of tokens, for any kind of signal, a few tokens at a time.

Axis letters: N tokens, R those of a chunk, V vocabulary, D width.
"""

from typing import Protocol

import torch
from torch import Tensor

from didact.errors import ConfigError
from didact.losses.tokens._fused import CHUNK, Projection, ScoreScaling, check_fit, operand_type
from didact.types import Derived, Signal, States, TopK
from didact.types.algebra import keep_top


class Scores(Protocol):
    """Computes a teacher's scores over a temperature."""

    def scores(self, rows: slice) -> Tensor:
        """The scores of some tokens, [R, V]; the next call may overwrite them."""
        ...


def teacher_scores(signal: Signal, vocabulary: int, temperature: float | Tensor = 1.0) -> Scores:
    """Prepare the scoring of tokens.

    Args:
        signal: of N tokens; no gradient flows into it.
        vocabulary: the number of ids, V: at most that of the signal, or all where it does not determine it.
        temperature: above 0; divides the scores. One for all, or float [N].
    """
    if isinstance(signal, States):
        return _project(signal, vocabulary, temperature)
    return (
        _Derived(signal, vocabulary, temperature)
        if isinstance(signal, Derived)
        else _Held(signal, vocabulary, temperature)
    )


def token_slices(count: int, vocabulary: int) -> list[slice]:
    """Slices of N tokens, at least one, whose scores [R, V] are computed at once."""
    size = max(1, CHUNK // vocabulary)
    return [slice(start, min(start + size, count)) for start in range(0, max(1, count), size)]


def shared_vocabulary(own: int, signal: Signal) -> int:
    """The number of ids that a student's head and a teacher share: the smaller of the two."""
    return min(own, signal.outcomes or own)


@torch.no_grad()
def top_probs(signal: Signal, vocabulary: int, top_k: int, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """A teacher's K likeliest ids for N tokens, scored a few tokens at a time.

    Args:
        signal: of N tokens; `TopK` may have fewer ids.
        vocabulary: see `teacher_scores`.
        top_k: K, at most V.
        temperature: above 0; 1 for `TopK`.

    Returns:
        The ids int64 [N, K], and their probabilities float [N, K].
    """
    if isinstance(signal, TopK):
        check_hard_tail(temperature)
        kept = keep_top(signal, top_k)
        return kept.ids, kept.log_probs.float().exp()
    theirs = teacher_scores(signal, vocabulary, temperature)
    found = [theirs.scores(rows).softmax(-1).topk(top_k, -1) for rows in token_slices(signal.shape[0], vocabulary)]
    return torch.cat([one.indices for one in found]), torch.cat([one.values for one in found])


def check_hard_tail(temperature: float) -> None:
    """Raise `ConfigError` unless the temperature for a top-k signal is 1."""
    if temperature != 1.0:
        raise ConfigError(
            f"The temperature is {temperature:g}, but the teacher names its likeliest tokens alone, whose tail can't "
            "be softened; use a temperature of 1, in each of the method's options of that kind."
        )


def check_same_tokens(hidden: Tensor, signal: Signal) -> None:
    """Raise `ConfigError` unless a signal is of the same N tokens as the states [N, D]."""
    if tuple(signal.shape) != (len(hidden),):
        raise ConfigError(
            f"hidden has {len(hidden)} rows and the teacher's signal is of {list(signal.shape)} tokens; give the same."
        )


def apply_trust(weight: Tensor | None, signal: Signal) -> Tensor | None:
    """The weight of each token [N], multiplied by the signal's trust; None where all are equal."""
    trust = signal.effective_trust
    return weight if trust is None else trust if weight is None else weight * trust


def _project(signal: States, vocabulary: int, temperature: float | Tensor) -> Projection:
    hidden, head = signal.hidden.detach(), signal.head.slice(vocabulary)
    check_fit(hidden, head)
    fused = ScoreScaling(head.scale, head.softcap, temperature, operand_type(hidden, head))
    return Projection(hidden, head.weight.detach(), None if head.bias is None else head.bias.detach(), fused)


class _Held:
    """The scores that a signal holds, or can compute at once."""

    def __init__(self, signal: Signal, vocabulary: int, temperature: float | Tensor) -> None:
        self.signal, self.vocabulary, self.temperature = signal, vocabulary, temperature

    def scores(self, rows: slice) -> Tensor:
        """See `Scores`."""
        return self._softened(self.signal.rows(rows).scores(self.vocabulary).detach(), rows)

    def _softened(self, scores: Tensor, rows: slice) -> Tensor:
        wide = scores[..., : self.vocabulary].to(torch.promote_types(scores.dtype, torch.float32))
        if isinstance(self.temperature, Tensor):
            return wide / self.temperature[rows].to(wide).unsqueeze(1)
        return wide if self.temperature == 1.0 else wide / self.temperature


class _Derived(_Held):
    """Scores that are computed from those of other signals."""

    def __init__(self, signal: Derived, vocabulary: int, temperature: float | Tensor) -> None:
        super().__init__(signal, vocabulary, temperature)
        self.derived = signal
        # All ids, not only those requested: mixing and swapping depend on the whole distribution.
        count = signal.outcomes or vocabulary
        self.parts = [teacher_scores(part, count) for part in signal.parts]

    def scores(self, rows: slice) -> Tensor:
        """See `Scores`."""
        return self._softened(self.derived.combine([part.scores(rows) for part in self.parts], rows), rows)
