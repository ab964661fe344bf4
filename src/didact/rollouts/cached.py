"""A backend for any model with a key-value cache, which uses its own forward and transformers' cache.

All slots have their newest token in the last column of the cache; a mask marks their starts. Axis letters: S slots,
P prompts, R slots that are filled, T columns of the cache, G heads of keys, E the size of a head.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from didact.documents import Document

States = list[tuple[Tensor, Tensor]]
"""Keys and values of each block, [P or S, G, T, E]."""


@dataclass(frozen=True, slots=True)
class CachedPrompts:
    """The keys and values of prompts."""

    states: States
    lengths: Tensor
    """int64 [P]."""


def cache_argument(module: Any) -> str | None:
    """The name of the cache argument of a model of `AutoModelForCausalLM`.

    Returns:
        `past_key_values`, or `cache`, its name from transformers 5.24 on; None for a model with another kind of state,
        or none.
    """
    if getattr(module, "_is_stateful", False):
        return None
    known = inspect.signature(module.forward).parameters
    return next((name for name in ("past_key_values", "cache") if name in known), None)


class CachedBackend:
    """See `didact.rollouts.backends.DecodingBackend`.

    Args:
        module: of `AutoModelForCausalLM`, one with a `cache_argument`.
        slots: S.
        length: the longest sequence.
    """

    def __init__(self, module: nn.Module, *, slots: int, length: int) -> None:
        self.module, self.length = module, length
        known = inspect.signature(module.forward).parameters
        self.argument = cache_argument(module)
        self.takes_positions = "position_ids" in known
        self.only_last = {name: 1 for name in ("logits_to_keep", "num_logits_to_keep") if name in known}
        self.device = next(module.parameters()).device
        self.states: States = []
        self.cache = _cache([])
        self.mask = torch.zeros(slots, 0, dtype=torch.int64, device=self.device)

    def prefill(self, prompts: Sequence[Sequence[int]]) -> CachedPrompts:
        """Read prompts."""
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        ids = pad_sequence(
            [torch.tensor(prompt, dtype=torch.int64) for prompt in prompts], batch_first=True, padding_side="left"
        )
        mask = (torch.arange(ids.shape[1]) >= ids.shape[1] - lengths[:, None]).long().to(self.device)
        # Even for empty prompts a column is computed, for its shape; it is always masked.
        ids, mask = (F.pad(part, (int(not ids.shape[1]), 0)) for part in (ids.to(self.device), mask))
        cache = _cache([])
        self._forward(ids, mask, cache)
        hidden = (mask == 0)[:, None, :, None]
        # Values at padding may be NaN, and are multiplied by a weight of 0.
        states = [(k.masked_fill(hidden, 0.0), v.masked_fill(hidden, 0.0)) for k, v in _states(cache)]
        return CachedPrompts(states, lengths.to(self.device))

    def place(self, read: CachedPrompts, source: Tensor, rows: Tensor) -> None:
        """Copy prompts into slots, after padding."""
        width = max(self.mask.shape[1], read.states[0][0].shape[2])
        lengths = read.lengths[source]
        old = _states(self.cache) or [_none(pair, len(self.mask)) for pair in read.states]
        states: States = []
        for ours, theirs in zip(old, read.states, strict=True):
            keys, values = (_widened(part, width).clone() for part in ours)
            keys[rows], values[rows] = (_widened(part, width)[source] for part in theirs)
            states.append((keys, values))
        mask = F.pad(self.mask, (width - self.mask.shape[1], 0))
        mask[rows] = (torch.arange(width, device=self.device) >= width - lengths[:, None]).long()
        self._take(states, mask)

    def step(self, tokens: Tensor) -> Tensor:
        """Append a token to every slot."""
        self.mask = F.pad(self.mask, (0, 1), value=1)
        return self._forward(tokens[:, None], self.mask, self.cache)

    def keep(self, rows: Tensor) -> None:
        """Keep only these slots."""
        self._take([(keys[rows], values[rows]) for keys, values in _states(self.cache)], self.mask[rows])

    def _take(self, states: States, mask: Tensor) -> None:
        """Continue with these, without columns that no slot uses any more."""
        unused = int((mask.sum(0) == 0).sum())
        self.mask = mask[:, unused:]
        self.cache = _cache([(keys[:, :, unused:], values[:, :, unused:]) for keys, values in states])

    def _forward(self, ids: Tensor, mask: Tensor, cache: Any) -> Tensor:
        """Run the model on tokens [S, T] after those in the cache; return the scores [S, V] of the next token."""
        options: Document = {**self.only_last, str(self.argument): cache}
        if self.takes_positions:
            # A slot whose sequence has ended continues until it is refilled, perhaps past the last position.
            positions = (mask.cumsum(1) - 1).clamp(0, self.length - 1)
            options["position_ids"] = positions[:, -ids.shape[1] :]
        found = self.module(input_ids=ids, attention_mask=mask, use_cache=True, **options)
        return found.logits[:, -1]


def _none(pair: tuple[Tensor, Tensor], slots: int) -> tuple[Tensor, Tensor]:
    """Empty keys and values for this number of slots."""
    keys, values = (part[:1, :, :0].repeat(slots, 1, 1, 1) for part in pair)
    return keys, values


def _widened(part: Tensor, width: int) -> Tensor:
    """[S, G, T, E] with empty columns in front."""
    return F.pad(part, (0, 0, width - part.shape[2], 0))


def _cache(states: States) -> Any:
    """A cache of transformers with these; one without a sliding window, so that all columns stay."""
    from transformers import DynamicCache

    cache = DynamicCache()
    for block, (keys, values) in enumerate(states):
        cache.update(keys, values, block)
    return cache


def _states(cache: Any) -> States:
    if hasattr(cache, "layers"):
        return [(layer.keys, layer.values) for layer in cache.layers]
    return list(zip(cache.key_cache, cache.value_cache, strict=True))
