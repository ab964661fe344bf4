"""An estimate of the memory that training a language model needs."""

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from didact.documents import Values
from didact.learners.causal import CausalLearner
from didact.learners.decoder import Llama
from didact.loop.devices import heap_kept
from didact.loop.masters import HALF
from didact.rollouts.products import COPIED
from didact.types import Batch, Method

MOMENTS = {"sgd": 1, "adamw8bit": 0.5}
"""Numbers that an optimizer keeps per trained parameter, if not two."""
TRIED = 512
"""Tokens of the larger trial, if these are two rows or more."""


@dataclass(frozen=True, kw_only=True)
class MemoryEstimate:
    """Estimated bytes, by use."""

    process: int
    """Python, its libraries and the data, on a CPU."""
    weights: int
    """The weights of all models; shared ones count once."""
    optimizer: int
    """Its moments, and float32 copies of weights in half precision."""
    step: int
    """What a loss and its backward pass add at most: activations and gradients."""
    cache: int
    """Keys and values during sampling, and weights that are copied for it."""
    allocator: int
    """What the allocator keeps of freed memory, on a CPU."""

    @property
    def total(self) -> int:
        """The peak: nothing of a step is there during sampling."""
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        return sum(parts.values()) - min(self.step, self.cache)


def estimate_memory(
    method: Method,
    batch: Batch,
    *,
    others: Sequence[nn.Module],
    optimizer: str,
    rows: int,
    length: int,
    slots: int,
    summed: bool = False,
    resident: int = 0,
) -> MemoryEstimate:
    """Estimate the memory of a run.

    Args:
        method: the method, in training mode. Its loss on some rows of the batch is computed twice, with the gradients,
            which are dropped.
        batch: a training batch.
        others: models used for inference only.
        optimizer: its name.
        rows: sequences per forward pass.
        length: length of the longest sequence, in tokens.
        slots: sequences that are sampled in parallel; 0 if none are sampled.
        summed: whether batches are computed in several parts.
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
    step = _step(method, batch, rows, length, summed=summed)
    return MemoryEstimate(
        process=max(0, resident - weights),
        weights=weights,
        optimizer=int(gradients * MOMENTS.get(optimizer, 2)) + half,
        step=step + gradients if summed else max(step, gradients),
        cache=slots * length * layers * 2 * keys * size + copied,
        allocator=min(heap_kept(own), step) if resident else 0,
    )


def _bytes(*models: nn.Module) -> int:
    """The bytes of all weights, of which several models may share some."""
    return sum({p.untyped_storage().data_ptr(): p.nbytes for model in models for p in model.parameters()}.values())


def _step(method: Method, batch: Batch, rows: int, length: int, *, summed: bool) -> int:
    """The bytes that a loss of so many rows and its backward pass add at most.

    Between one gradient and the next the peak grows by the same bytes with each row. Two trials of different sizes give
    the line of each such stretch; the highest of them at the number of rows is the peak.
    """
    width = batch["input_ids"].shape[1]
    many = max(2, min(rows, TRIED // width))
    few = many // 2
    small, large = (_peaks(method, _repeated(batch, count), summed=summed) for count in (few, many))
    scale = rows * length / width
    lines = [(b - a) / (many - few) for a, b in zip(small, large, strict=True)]
    return int(max(b + slope * (scale - many) for b, slope in zip(large, lines, strict=True)))


def _repeated(batch: Batch, count: int) -> Batch:
    """So many rows of a batch, some of them several times where it has fewer."""
    return batch.select(torch.arange(count, device=batch["id"].device) % batch.size)


def _peaks(method: Method, batch: Batch, *, summed: bool) -> list[int]:
    """The largest sizes of what is made for a loss, before its first gradient, between each two, and after the last.

    Args:
        method: the method.
        batch: the rows.
        summed: whether there are gradients already, to which these are added.
    """
    trained = method.parameters()
    for parameter in trained if summed else ():
        # Those of weights in half precision are kept elsewhere.
        parameter.grad = None if parameter.dtype in HALF else torch.zeros_like(parameter)
    with _Tally() as tally:
        marks = [parameter.register_post_accumulate_grad_hook(tally.mark) for parameter in trained]
        loss = method.loss(batch).total()
        loss.backward()
    for mark in marks:
        mark.remove()
    for parameter in trained:
        parameter.grad = None
    return tally.peaks


class _Tally(TorchDispatchMode):
    """The bytes of tensors that are made in this context, and the most that are there at once between two marks."""

    def __init__(self) -> None:
        super().__init__()
        self.live, self.peaks, self.sizes = 0, [0], dict[int, int]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Values | None = None) -> Any:
        given = {_place(tensor) for tensor in tree_iter((args, kwargs)) if isinstance(tensor, Tensor)}
        found = func(*args, **(kwargs or {}))
        for tensor in tree_iter(found):
            if isinstance(tensor, Tensor) and _place(tensor) not in given:
                self._add(tensor.untyped_storage())
        return found

    def _add(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata in self.sizes:
            return
        self.sizes[storage._cdata] = storage.nbytes()
        weakref.finalize(storage, self._drop, storage._cdata)
        self.live += storage.nbytes()
        self.peaks[-1] = max(self.peaks[-1], self.live)

    def _drop(self, place: int) -> None:
        self.live -= self.sizes.pop(place, 0)

    def mark(self, _parameter: Tensor) -> None:
        """End a stretch."""
        self.peaks.append(self.live)


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


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
