"""The outputs of learners."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Output:
    """The output of a learner for a batch."""

    logits: Tensor
    """[B, C] class scores before the softmax, or [B, 1] predictions of a regression; of pixels [B * H * W, C]."""
    features: Mapping[str, Tensor] = field(default_factory=dict)
    """The outputs of the tapped modules, by module name; each [B, ...]."""
    hidden: Tensor | None = None
    """[B, D], the input of the head (the last linear layer); None where no head is known."""


@dataclass(frozen=True, slots=True)
class Head:
    """The map from a hidden state h [D] to the scores of a vocabulary: cap * tanh(scale * (W h + b) / cap).

    It is kept apart from the states, so that a loss can process a few tokens at a time and never hold [tokens, V].
    """

    weight: Tensor
    """[V, D]."""
    bias: Tensor | None = None
    """[V]."""
    scale: float = 1.0
    """The factor of the products; 1 in most models."""
    softcap: float | None = None
    """The bound on the absolute value of scores, above 0; None where scores are not capped."""

    @property
    def vocabulary(self) -> int:
        """The number of token ids that it scores, V; may exceed the tokenizer's where a model pads its vocabulary."""
        return self.weight.shape[0]

    def slice(self, size: int) -> "Head":
        """The head restricted to the first `size` ids."""
        if size >= self.vocabulary:
            return self
        return Head(self.weight[:size], None if self.bias is None else self.bias[:size], self.scale, self.softcap)

    def to(self, dtype: torch.dtype) -> "Head":
        """The same head in another dtype."""
        bias = None if self.bias is None else self.bias.to(dtype)
        return Head(self.weight.to(dtype), bias, self.scale, self.softcap)

    def __call__(self, hidden: Tensor) -> Tensor:
        """Scores [..., V] of hidden states [..., D]."""
        scores = nn.functional.linear(hidden, self.weight, self.bias)
        scores = scores if self.scale == 1.0 else scores * self.scale
        return scores if self.softcap is None else self.softcap * torch.tanh(scores / self.softcap)


@dataclass(frozen=True, slots=True)
class TokenOutput:
    """The output of a causal language model for a batch: the scores of each next token, not yet computed."""

    hidden: Tensor
    """[B, T, D], the input of the head; position t predicts token t + 1."""
    head: Head
    features: Mapping[str, Tensor] = field(default_factory=dict)
    """The outputs of the tapped modules, by module name; each [B, T, ...]."""

    @property
    def logits(self) -> Tensor:
        """[B, T, V], computed at each access; for small vocabularies and tests."""
        return self.head(self.hidden)
