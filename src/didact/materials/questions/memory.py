"""An estimate of the memory that training a language model needs."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from didact.learners.causal import CausalLearner
from didact.learners.decoder import Llama
from didact.loop.masters import HALF
from didact.rollouts.products import COPIED
from didact.types import Batch, Method

MOMENTS = {"sgd": 1, "adamw8bit": 0.5}
"""Numbers that an optimizer keeps per trained parameter, if not two."""


@dataclass(frozen=True, kw_only=True)
class MemoryEstimate:
    """Estimated bytes, by use."""

    process: int
    """Python, its libraries and the data, on a CPU."""
    weights: int
    """The weights of all models; shared ones count once."""
    gradients: int
    optimizer: int
    """Its moments, and float32 copies of weights in half precision."""
    activations: int
    """Activations for the backward pass, for the rows of one forward pass."""
    cache: int
    """Keys and values during sampling, and weights that are copied for it."""

    @property
    def total(self) -> int:
        """The peak: gradients take the place of activations, and neither is there during sampling."""
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        changing = (self.gradients, self.activations, self.cache)
        return sum(parts.values()) - sum(changing) + max(changing)


def estimate_memory(
    method: Method,
    batch: Batch,
    *,
    others: Sequence[nn.Module],
    optimizer: str,
    rows: int,
    length: int,
    slots: int,
    resident: int = 0,
) -> MemoryEstimate:
    """Estimate the memory of a run.

    Args:
        method: the method, in training mode. Its loss of the first two rows of the batch is computed, and what is kept
            for the backward pass is counted.
        batch: a training batch.
        others: models used for inference only.
        optimizer: its name.
        rows: sequences per forward pass.
        length: length of the longest sequence, in tokens.
        slots: sequences that are sampled in parallel; 0 if none are sampled.
        resident: the memory of this process before anything was computed, on a CPU.
    """
    learner: CausalLearner = method.learner
    trained = method.parameters()
    half = sum(4 * p.numel() for p in trained if p.dtype in HALF)
    gradients = half + sum(p.nbytes for p in trained if p.dtype not in HALF)
    layers, keys = _shape(learner)
    weights, own = _bytes(learner, *others), _bytes(learner)
    copied = own if slots and sum(p.numel() for p in learner.parameters()) <= COPIED else 0
    size = learner.head.weight.element_size()
    return MemoryEstimate(
        process=max(0, resident - weights),
        weights=weights,
        gradients=gradients,
        optimizer=int(gradients * MOMENTS.get(optimizer, 2)) + half,
        activations=_activations(method, batch, rows, length),
        cache=slots * length * layers * 2 * keys * size + copied,
    )


def _bytes(*models: nn.Module) -> int:
    """The bytes of all weights, of which several models may share some."""
    return sum({p.untyped_storage().data_ptr(): p.nbytes for model in models for p in model.parameters()}.values())


def _activations(method: Method, batch: Batch, rows: int, length: int) -> int:
    """The bytes that are kept for the backward pass of so many rows, from those of one row and of two."""
    one, two = (_kept(method, batch.split(count)[0]) for count in (1, 2))
    each = (two - one if batch.size > 1 else one) * length / batch["input_ids"].shape[1]
    return int(max(one - each, 0) + each * rows)


def _kept(method: Method, batch: Batch) -> int:
    """The bytes that the loss of a batch keeps for its backward pass, besides weights and the batch."""
    models = [*method.modules().values(), *(getattr(part, "learner", None) for part in method.teachers())]
    own = [*(p for model in models if isinstance(model, nn.Module) for p in model.parameters()), *batch.values()]
    known, kept = {tensor.untyped_storage().data_ptr() for tensor in own}, dict[int, int]()

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = method.loss(batch).total()
    del loss
    return sum(kept.values())


def _shape(learner: CausalLearner) -> tuple[int, int]:
    """Blocks, and the width of the keys in one block."""
    module = learner.module
    if isinstance(module, Llama):
        shape = module.config
        return shape.layers, shape.kv_heads * shape.head_size
    config: Any = module.config
    text = config.get_text_config()
    width, heads = text.hidden_size, text.num_attention_heads
    keys = getattr(text, "num_key_value_heads", None) or heads
    size = getattr(text, "head_dim", None) or width // heads
    return text.num_hidden_layers, keys * size
