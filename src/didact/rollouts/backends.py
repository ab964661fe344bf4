"""Two backends that run a language model one token at a time, with one interface.

`PackedBackend` is for Llama-shaped models, of which it copies small ones in another layout; `CachedBackend` for all
others with a key-value cache. Axis letters: S slots, P prompts, R slots that are filled, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from didact.errors import ConfigError
from didact.learners.causal import CausalLearner
from didact.rollouts.cached import CachedBackend, cache_argument
from didact.rollouts.int8 import Int8Product, has_int8
from didact.rollouts.packed import PackedBackend
from didact.rollouts.products import is_llama_shaped, is_plain, pack, projections


class DecodingBackend(Protocol):
    """A model with slots, each for a sequence that is being generated."""

    def prefill(self, prompts: Sequence[Sequence[int]]) -> Any:
        """Read prompts, some of which may be empty; returns the first argument of `place`."""
        ...

    def place(self, read: Any, source: Tensor, rows: Tensor) -> None:
        """Fill slots.

        Args:
            read: the result of `prefill`.
            source: int64 [R], the number of the prompt for each slot; may be repeated.
            rows: int64 [R], the slots.
        """
        ...

    def step(self, tokens: Tensor) -> Tensor:
        """Append a token, int64 [S], to every slot; return the scores of the next one, [S, V]."""
        ...

    def keep(self, rows: Tensor) -> None:
        """Keep only these slots, int64 [R], which are renumbered."""
        ...


def make_backend(learner: CausalLearner, slots: int, length: int, *, int8: bool = False) -> DecodingBackend:
    """Build the backend for a model, with its present weights.

    Args:
        learner: the model.
        slots: the number of sequences at once.
        length: the longest sequence, in tokens.
        int8: whether to round its matrices to whole numbers.

    Raises:
        ConfigError: the model has no key-value cache, or can't be rounded.
    """
    module = learner.module
    if int8:
        check_int8(learner, length)
        return PackedBackend(pack(module, learner.head, length, Int8Product), slots=slots, length=length)
    if is_llama_shaped(module, length):
        return PackedBackend(pack(module, learner.head, length), slots=slots, length=length)
    if cache_argument(module) is None:
        raise ConfigError(
            f"The model {learner.config!r} ({type(module).__name__}) keeps no keys and values of earlier tokens, so "
            "that it can't be sampled from; give a transformer."
        )
    return CachedBackend(module, slots=slots, length=length)


def check_int8(learner: CausalLearner, length: int) -> None:
    """Refuse models that can't be rounded.

    Args:
        learner: the model.
        length: the longest sequence, in tokens.

    Raises:
        ConfigError: a model of another shape than Llama's, on another device than a CPU, or in another type than
            float32; or a torch without oneDNN.
    """
    dtype, device = learner.head.weight.dtype, learner.device.type
    reasons = {
        "has another shape than Llama, Mistral, Qwen 2 and Qwen 3": not is_llama_shaped(learner.module, length),
        f"is on {device}": device != "cpu",
        f"has weights in {str(dtype).removeprefix('torch.')}": dtype != torch.float32,
        "has layers that are no plain linear ones": not _is_plain(learner.module),
        "runs on a torch without oneDNN": not has_int8(),
    }
    if why := next((words for words, holds in reasons.items() if holds), None):
        raise ConfigError(
            f"engine is int8, which needs float32 weights of Llama's shape on a CPU, but {learner.config!r} {why}; "
            "leave out engine."
        )


def _is_plain(module: Any) -> bool:
    """Whether the weights of all projections can be merged."""
    return hasattr(module, "model") and all(map(is_plain, projections(module.model)))
