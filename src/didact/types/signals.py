"""What a teacher says about a batch."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from didact.types.outputs import Head


@dataclass(frozen=True, slots=True, kw_only=True)
class States:
    """A language model's token distributions, as hidden states and a head."""

    hidden: Tensor
    """[B, T, D]; position t speaks of token t + 1."""
    head: Head
    trust: Tensor | None = None
    """float [B, T] in [0, 1]; 0 is abstaining, None is full trust."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Logits:
    """A teacher's class scores."""

    logits: Tensor
    """[B, C] float; any per-row shift means the same."""
    trust: Tensor | None = None
    """float [B] in [0, 1]; 0 is abstaining, None is full trust."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """A teacher's answers: classes, or probabilities of them."""

    labels: Tensor
    """int64 [B] (`IGNORE` is no answer), or probabilities float [B, C] whose rows sum to 1, or float [B] targets."""
    trust: Tensor | None = None
    """float [B] in [0, 1]; 0 is abstaining, None is full trust."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopK:
    """The k most probable classes or tokens, with what is left over."""

    ids: Tensor
    """int64 [..., K]."""
    log_probs: Tensor
    """float [..., K], natural logarithms."""
    tail: Tensor
    """float [...], the probability of everything else, in [0, 1]."""
    trust: Tensor | None = None
    """float [...] in [0, 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """A teacher's representations."""

    features: Mapping[str, Tensor]
    """By tap name; each [B, ...]."""
    logits: Tensor | None = None
    """[B, C], from the same forward pass, where the teacher classifies."""
    trust: Tensor | None = None
    """float [B] in [0, 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reward:
    """How good an attempt was."""

    value: Tensor
    """float [B] or [B, T]; higher is better."""
    trust: Tensor | None = None
    """float, as `value`; 0 where the verifier could not tell."""


Signal = Logits | Labels | TopK | Features | States | Reward
"""What a teacher says about a batch."""
