"""Two backends that run a language model one token at a time, with one interface.

`PackedBackend` is for Llama-shaped models, of which it copies small ones in another layout; `CachedBackend` for all
others with a key-value cache. Axis letters: S slots, P prompts, R slots that are filled, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from didact.errors import ConfigError
from didact.learners.causal import CausalLearner
from didact.rollouts.cached import CachedBackend, cache_argument
from didact.rollouts.packed import PackedBackend
from didact.rollouts.products import is_llama_shaped, pack


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


def make_backend(learner: CausalLearner, slots: int, length: int) -> DecodingBackend:
    """Build the backend for a model, with its present weights.

    Args:
        learner: the model.
        slots: the number of sequences at once.
        length: the longest sequence, in tokens.

    Raises:
        ConfigError: the model has no key-value cache.
    """
    module = learner.module
    if is_llama_shaped(module, length):
        return PackedBackend(pack(module, learner.head, length), slots=slots, length=length)
    if cache_argument(module) is None:
        raise ConfigError(
            f"The model {learner.config!r} ({type(module).__name__}) keeps no keys and values of earlier tokens, so "
            "that it can't be sampled from; give a transformer."
        )
    return CachedBackend(module, slots=slots, length=length)
