"""Two ways to run a language model one token at a time, behind one interface.

`PackedBackend` for Llama-shaped models, whose weights it lays out anew; `CachedBackend` for all others that keep keys
and values. Axis letters: S slots, P prompts, R slots that are filled, V vocabulary.
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
    """A model with slots, each of which holds a sequence that is being written."""

    def prefill(self, prompts: Sequence[Sequence[int]]) -> Any:
        """Read prompts, some of which may be empty; what comes back goes to `place`."""
        ...

    def place(self, read: Any, source: Tensor, rows: Tensor) -> None:
        """Fill slots.

        Args:
            read: of `prefill`.
            source: int64 [R], which of its prompts; one may come often.
            rows: int64 [R], into which slots.
        """
        ...

    def step(self, tokens: Tensor) -> Tensor:
        """Add a token, int64 [S], to every slot; scores of the next one, [S, V]."""
        ...

    def keep(self, rows: Tensor) -> None:
        """Give up all slots but these, int64 [R], which are numbered anew."""
        ...


def make_backend(learner: CausalLearner, slots: int, length: int) -> DecodingBackend:
    """The backend that suits a model, with the weights that it has now.

    Args:
        learner: the model.
        slots: how many sequences at once.
        length: the longest sequence, in tokens.

    Raises:
        ConfigError: a model that keeps no keys and values.
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
