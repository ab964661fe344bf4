"""How much memory the training of a language model needs, roughly, before it is begun."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from torch import nn

from didact.learners.causal import CausalLearner
from didact.learners.decoder import Llama

MOMENTS = {"sgd": 1}
"""How many numbers an optimizer keeps for each trained one, where these are not two."""
KEPT = 17
"""Numbers that a block keeps for the backward pass, for each column of each token (Korthikanti et al. 2022)."""


@dataclass(frozen=True, kw_only=True)
class MemoryEstimate:
    """Bytes, by what they are for."""

    weights: int
    """Of all models."""
    gradients: int
    optimizer: int
    activations: int
    """What the backward pass needs of the forward pass, for the rows that go through the model at once."""
    cache: int
    """Keys and values, while answers are sampled."""

    @property
    def total(self) -> int:
        """The most that is there at once: activations and the cache are not needed at the same time."""
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        return sum(parts.values()) - min(self.activations, self.cache)


def estimate_memory(
    learner: CausalLearner, *, others: Sequence[nn.Module], optimizer: str, rows: int, length: int, slots: int
) -> MemoryEstimate:
    """Estimate the memory of a run.

    Args:
        learner: the model that is trained.
        others: models that are only asked.
        optimizer: its name.
        rows: sequences that go through the model at once.
        length: of the longest, in tokens.
        slots: sequences that are written at once; 0 where none are sampled.
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
    """Blocks, columns of a token's state, and columns of its keys in one block."""
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
