"""What a student returns for a batch."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Output:
    """What a learner returns for a batch."""

    logits: Tensor
    """[B, C] class scores before the softmax, or [B, 1] predictions of a regression."""
    features: Mapping[str, Tensor] = field(default_factory=dict)
    """What came out of the tapped modules, by module name; each [B, ...]."""
    hidden: Tensor | None = None
    """[B, D], what the head (the last linear layer) was given; None where no head is known."""


@dataclass(frozen=True, slots=True)
class Head:
    """What turns a hidden state h [D] into the scores of a vocabulary: cap * tanh(scale * (W h + b) / cap).

    Kept apart from the states, so that a loss can work on a few tokens at a time and never hold [tokens, V].
    """

    weight: Tensor
    """[V, D]."""
    bias: Tensor | None = None
    """[V]."""
    scale: float = 1.0
    """What the products are multiplied by; 1 in most models."""
    softcap: float | None = None
    """The largest size of a score, above 0; None where scores are not capped."""

    @property
    def vocabulary(self) -> int:
        """How many token ids it scores, V; may be more than the tokenizer has, where a model pads its vocabulary."""
        return self.weight.shape[0]

    def slice(self, size: int) -> "Head":
        """The head of the first `size` ids alone."""
        if size >= self.vocabulary:
            return self
        return Head(self.weight[:size], None if self.bias is None else self.bias[:size], self.scale, self.softcap)

    def to(self, dtype: torch.dtype) -> "Head":
        """The same head in another type."""
        bias = None if self.bias is None else self.bias.to(dtype)
        return Head(self.weight.to(dtype), bias, self.scale, self.softcap)

    def __call__(self, hidden: Tensor) -> Tensor:
        """Scores [..., V] of hidden states [..., D]."""
        scores = nn.functional.linear(hidden, self.weight, self.bias)
        scores = scores if self.scale == 1.0 else scores * self.scale
        return scores if self.softcap is None else self.softcap * torch.tanh(scores / self.softcap)


@dataclass(frozen=True, slots=True)
class TokenOutput:
    """What a causal language model returns for a batch: the scores of each next token, not yet computed."""

    hidden: Tensor
    """[B, T, D], what the head is given; position t speaks of token t + 1."""
    head: Head
    features: Mapping[str, Tensor] = field(default_factory=dict)
    """What came out of the tapped modules, by module name; each [B, T, ...]."""

    @property
    def logits(self) -> Tensor:
        """[B, T, V], computed each time it is read; for small vocabularies and tests."""
        return self.head(self.hidden)
