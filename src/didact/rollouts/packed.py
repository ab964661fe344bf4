"""A backend for Llama-shaped models, with few operations per token and a cache that is never moved.

The cache is a ring buffer: all slots write to the same column, the next one at each step; the prompt of a refilled slot
goes into the columns before. Positions are rotated into keys and queries, so that the order of columns does not
matter. Axis letters: S slots, N rows of a step or of prompts, L columns of the cache,
P prompts, T their positions, H heads of queries, G heads of keys, E the size of a head, D width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from didact.rollouts.products import PackedBlock, Weights


@dataclass(frozen=True, slots=True)
class PackedPrompts:
    """The keys and values of prompts."""

    states: Tensor
    """[blocks, 2, P, T, G, E]: keys and values."""
    lengths: Tensor
    """int64 [P]."""


class PackedBackend:
    """See `didact.rollouts.backends.DecodingBackend`.

    Args:
        weights: of `pack`.
        slots: S.
        length: the longest sequence, L.
    """

    def __init__(self, weights: Weights, *, slots: int, length: int) -> None:
        self.weights, self.length = weights, length
        like = weights.embedding
        shape = (len(weights.blocks), 2, slots, weights.kv_heads, length, weights.head_size)
        self.cache = torch.zeros(shape, dtype=like.dtype, device=like.device)
        self.mask = torch.full((slots * weights.kv_heads, 1, length), float("-inf"), dtype=like.dtype).to(like.device)
        self.positions = torch.zeros(slots, dtype=torch.int64, device=like.device)
        # By the width of the normalised vector: the lower bound of the norm that it is divided by.
        widths = (weights.head_size, like.shape[1])
        self.floors = {width: torch.tensor((width * weights.eps) ** 0.5, device=like.device) for width in widths}
        self.column = 0
        self.filled = 0

    def prefill(self, prompts: Sequence[Sequence[int]]) -> PackedPrompts:
        """Read prompts."""
        w, device = self.weights, self.cache.device
        lengths = torch.tensor([len(prompt) for prompt in prompts]).to(device)
        ids = pad_sequence([torch.tensor(prompt, dtype=torch.int64) for prompt in prompts], batch_first=True).to(device)
        P, T = ids.shape
        kept = self.cache.new_empty((len(w.blocks), 2, P, T, w.kv_heads, w.head_size))

        def attend(block: int, states: Tensor) -> Tensor | None:
            queries, keys, values = states.view(P, T, -1, w.head_size).split([w.heads, w.kv_heads, w.kv_heads], 2)
            kept[block, 0], kept[block, 1] = keys, values
            if block == len(w.blocks) - 1:
                return None
            q, k, v = (part.transpose(1, 2) for part in (queries, keys, values))
            many = w.heads != w.kv_heads
            found = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=w.scale, enable_gqa=many)
            return found.transpose(1, 2).reshape(P * T, -1)

        if T:
            self._through(ids.flatten(), w.turns[:T].repeat(P, 1, 1), attend)
        return PackedPrompts(kept, lengths)

    def place(self, read: PackedPrompts, source: Tensor, rows: Tensor) -> None:
        """Copy prompts into slots, into the columns before the next one."""
        longest = int(read.lengths.max())
        if not self.filled:
            self.column = self.filled = longest
        lengths = read.lengths[source]
        offsets = torch.arange(longest, device=rows.device)
        which, there = (offsets < lengths[:, None]).nonzero(as_tuple=True)
        columns = (self.column - lengths[which] + there) % self.length
        states = read.states[:, :, source[which], there]
        self.cache[:, :, rows[which], :, columns] = states.permute(2, 0, 1, 3, 4)
        mask = self.mask.view(-1, self.weights.kv_heads, self.length)
        mask[rows] = float("-inf")
        mask[rows[which], :, columns] = 0.0
        self.positions[rows] = lengths
        # Prompts may wrap around the start of the ring.
        self.filled = self.length if longest > self.column else max(self.filled, self.column)

    def step(self, tokens: Tensor) -> Tensor:
        """Append a token to every slot."""
        w, S, column = self.weights, len(self.positions), self.column
        self.filled = max(self.filled, column + 1)
        self.mask[:, :, column] = 0.0
        groups = w.heads // w.kv_heads
        mask = self.mask[:, :, : self.filled].expand(-1, groups, -1)
        filled = self.cache.flatten(2, 3)[..., : self.filled, :]
        keys, values = filled[:, 0].transpose(-1, -2).unbind(), filled[:, 1].unbind()
        written = self.cache[..., column, :].transpose(1, 2).unbind()

        def attend(block: int, states: Tensor) -> Tensor:
            queries, new = states.split_with_sizes((w.heads, 2 * w.kv_heads), 1)
            written[block].copy_(new.view(S, 2, w.kv_heads, -1))
            queries = queries.reshape(S * w.kv_heads, groups, w.head_size)
            weights = torch.baddbmm(mask, queries, keys[block], alpha=w.scale).softmax(-1)
            return torch.bmm(weights, values[block]).view(S, -1)

        x = self._through(tokens, w.turns[self.positions], attend)
        # A slot whose sequence has ended continues until it is refilled, perhaps past the last position.
        self.positions.add_(1).clamp_(max=self.length - 1)
        self.column = (column + 1) % self.length
        return self._scores(x)

    def keep(self, rows: Tensor) -> None:
        """Keep only these slots."""
        self.cache = self.cache.index_select(2, rows)
        self.mask = self.mask.view(-1, self.weights.kv_heads, self.length)[rows].view(-1, 1, self.length)
        self.positions = self.positions[rows]

    def _through(self, tokens: Tensor, turns: Tensor, attend: Callable[[int, Tensor], Tensor | None]) -> Tensor:
        """Run tokens [N] through the blocks, to states [N, D].

        `attend` is called with the number of a block, and queries, keys and values [N, H + 2 G, E]. If it returns None,
        the rest is not computed.
        """
        w = self.weights
        x = w.embedding[tokens]
        for i, block in enumerate(w.blocks):
            states = block.qkv(self._normed(x, block.before)).view(x.shape[0], -1, w.head_size)
            self._turn(states[:, : w.heads + w.kv_heads], turns, block)
            attended = attend(i, states)
            if attended is None:
                return x
            x = block.out.add(attended, x)
            gate, up = block.gate_up.parts(self._normed(x, block.after))
            x = block.down.add(F.silu(gate).mul_(up), x)
        return x

    def _turn(self, states: Tensor, turns: Tensor, block: PackedBlock) -> None:
        """Rotate queries and keys [N, H + G, E] by their positions, in place."""
        if block.gains is not None:
            states.copy_(self._normed(states, block.gains))
        if self.weights.paired:
            torch.view_as_complex(states.view(*states.shape[:2], -1, 2)).mul_(turns)
            return
        first, second = states.float().chunk(2, -1)
        turned = torch.complex(first, second) * turns
        states.copy_(torch.cat([turned.real, turned.imag], -1))

    def _normed(self, x: Tensor, gain: Tensor | None) -> Tensor:
        """Divide [..., D] by sqrt(D) times its root mean square, and multiply it by the gain, which holds sqrt(D)."""
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        normed = (x / torch.hypot(length, self.floors[x.shape[-1]])).to(x.dtype)
        return normed if gain is None else normed * gain

    def _scores(self, x: Tensor) -> Tensor:
        """States [N, D] to scores [N, V]."""
        head, scores = self.weights.head, self.weights.scores(self._normed(x, self.weights.last))
        scores = scores if head.scale == 1.0 else scores * head.scale
        return scores if head.softcap is None else head.softcap * torch.tanh(scores / head.softcap)
