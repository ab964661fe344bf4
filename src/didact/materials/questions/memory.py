"""An estimate of the memory that training a language model needs."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from torch import nn

from didact.learners.causal import CausalLearner
from didact.learners.decoder import Llama

MOMENTS = {"sgd": 1}
"""Numbers that an optimizer keeps per trained parameter, if not two."""
KEPT = 17
"""Activations that a block keeps for the backward pass per token and column (Korthikanti et al. 2022)."""


@dataclass(frozen=True, kw_only=True)
class MemoryEstimate:
    """Estimated bytes, by use."""

    weights: int
    """The weights of all models."""
    gradients: int
    optimizer: int
    activations: int
    """Activations for the backward pass, for the rows of one forward pass."""
    cache: int
    """Keys and values during sampling."""

    @property
    def total(self) -> int:
        """The peak: activations and the cache are not needed at the same time."""
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        return sum(parts.values()) - min(self.activations, self.cache)


def estimate_memory(
    learner: CausalLearner, *, others: Sequence[nn.Module], optimizer: str, rows: int, length: int, slots: int
) -> MemoryEstimate:
    """Estimate the memory of a run.

    Args:
        learner: the trained model.
        others: models used for inference only.
        optimizer: its name.
        rows: sequences per forward pass.
        length: length of the longest sequence, in tokens.
        slots: sequences that are sampled in parallel; 0 if none are sampled.
    """
    trained = [p for p in learner.parameters() if p.requires_grad]
    gradients = sum(p.numel() * p.element_size() for p in trained)
    layers, width, keys = _shape(learner)
    size = learner.head.weight.element_size()
    return MemoryEstimate(
        weights=sum(_bytes(model) for model in (learner, *others)),
        gradients=gradients,
        optimizer=gradients * MOMENTS.get(optimizer, 2),
        activations=rows * length * layers * width * KEPT * size,
        cache=slots * length * layers * 2 * keys * size,
    )


def _bytes(model: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in model.parameters())


def _shape(learner: CausalLearner) -> tuple[int, int, int]:
    """Blocks, width of the hidden states, and width of the keys in one block."""
    module = learner.module
    if isinstance(module, Llama):
        shape = module.config
        return shape.layers, shape.width, shape.kv_heads * shape.head_size
    config: Any = module.config
    text = config.get_text_config()
    width, heads = text.hidden_size, text.num_attention_heads
    keys = getattr(text, "num_key_value_heads", None) or heads
    size = getattr(text, "head_dim", None) or width // heads
    return text.num_hidden_layers, width, keys * size
