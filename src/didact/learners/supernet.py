"""A supernet: a transformer with subnets that share its weights."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from didact.errors import ConfigError
from didact.learners.module import ModuleLearner
from didact.learners.nets import Encoder, EncoderBlock, SelfAttention
from didact.learners.virtual_step import functional_forward
from didact.types import Batch, Output


@dataclass(frozen=True, slots=True, order=True)
class SubnetSize:
    """The size of a transformer's blocks."""

    depth: int
    """The number of blocks."""
    heads: int
    """Attention heads of each block."""
    units: int
    """Hidden units of each block's feed-forward net."""


class Supernet:
    """A transformer with subnets: fewer blocks, fewer attention heads, fewer hidden units.

    A subnet has evenly spaced blocks of the supernet, and of each of them the leading heads and hidden units. The width
    between blocks, the embedding and the head are those of the supernet.

    Args:
        learner: the supernet, such as transformer:4x64; it stays a plain learner, and its weights are trained.

    Raises:
        ConfigError: the learner is not a built-in transformer.
    """

    def __init__(self, learner: ModuleLearner) -> None:
        found = {name: part for name, part in learner.module.named_modules() if isinstance(part, Encoder)}
        if len(found) != 1:
            raise ConfigError(
                f"learner holds {len(found)} of didact's transformer encoders, but parts with shared weights are cut "
                "out of one; take one such as transformer:4x64."
            )
        self.learner = learner
        self.path = next(iter(found))
        first = _block(found[self.path], 0)
        self.largest = SubnetSize(len(found[self.path].blocks), first.attention.heads, _units(first))
        self._moulds: dict[SubnetSize, ModuleLearner] = {}

    @property
    def encoder(self) -> Encoder:
        """The module with the blocks."""
        return cast(Encoder, self.learner.module.get_submodule(self.path))

    def cost_share(self, size: SubnetSize) -> float:
        """The share of the supernet's multiplications per token that a subnet takes, without those of attention scores.

        Their number is that of the blocks' weights.
        """
        return _weights(self.encoder, size) / _weights(self.encoder, self.largest)

    def queries_tap(self, size: SubnetSize) -> str:
        """The tap of a subnet's last queries, keys and values: [B, T, 3 · heads · width of a head]."""
        return f"{self.path}.blocks.{size.depth - 1}.attention.qkv"

    def forward_subnet(self, size: SubnetSize, batch: Batch) -> Output:
        """The output of a subnet, with `queries_tap` among its features; gradients flow into the shared weights."""
        if size not in self._moulds:
            # On the meta device, since all its weights are shared: it has shapes and structure alone.
            mould = self._cut(size).to("meta")
            mould.tap(self.queries_tap(size))
            self._moulds[size] = mould
        return functional_forward(self._moulds[size], self._shared(size), batch)

    def extract(self, size: SubnetSize) -> ModuleLearner:
        """A subnet as a learner of its own, with fewer weights, on the CPU."""
        small = self._cut(size)
        with torch.no_grad():
            small.load_state_dict(self._shared(size))
        return small

    @torch.no_grad()
    def prune_to(self, size: SubnetSize) -> None:
        """Set all weights outside a subnet to zero, so that the supernet has exactly the subnet's outputs."""
        kept = _places(self.largest.depth, size.depth)
        for number, part in enumerate(self.encoder.blocks):
            block = cast(EncoderBlock, part)
            heads, units = (size.heads, size.units) if number in kept else (0, 0)
            outer = cast(nn.Linear, block.mlp[2])
            block.attention.out.weight[:, heads * _width(block.attention) :] = 0.0
            outer.weight[:, units:] = 0.0
            if number not in kept:
                block.attention.out.bias.zero_()
                outer.bias.zero_()

    def _cut(self, size: SubnetSize) -> ModuleLearner:
        """A learner with a subnet's shapes, whose weights are not set yet."""
        small = copy.deepcopy(self.learner)
        encoder = cast(Encoder, small.module.get_submodule(self.path))
        encoder.blocks = nn.ModuleList([encoder.blocks[at] for at in _places(self.largest.depth, size.depth)])
        for part in encoder.blocks:
            block = cast(EncoderBlock, part)
            attention, inner = block.attention, size.heads * _width(block.attention)
            outside = attention.out.out_features
            attention.heads = size.heads
            _resize(attention.qkv, outside, 3 * inner)
            _resize(attention.out, inner, outside)
            _resize(cast(nn.Linear, block.mlp[0]), outside, size.units)
            _resize(cast(nn.Linear, block.mlp[2]), size.units, outside)
        return small

    def _shared(self, size: SubnetSize) -> dict[str, Tensor]:
        """The supernet's weights and buffers by their names in a subnet; views where possible."""
        shared = dict(self.learner.named_parameters()) | dict(self.learner.named_buffers())
        blocks = f"module.{self.path}.blocks."
        found = {name: tensor for name, tensor in shared.items() if not name.startswith(blocks)}
        for number, at in enumerate(_places(self.largest.depth, size.depth)):
            block, prefix = _block(self.encoder, at), f"{blocks}{at}."
            inner = size.heads * _width(block.attention)
            cuts = {
                "attention.qkv": lambda t, n=inner: t.unflatten(0, (3, -1))[:, :n].flatten(0, 1),
                "attention.out": lambda t, n=inner: t[:, :n] if t.ndim == 2 else t,
                "mlp.0": lambda t: t[: size.units],
                "mlp.2": lambda t: t[:, : size.units] if t.ndim == 2 else t,
            }
            for name, tensor in shared.items():
                if name.startswith(prefix):
                    rest = name[len(prefix) :]
                    cut = cuts.get(rest.rpartition(".")[0])
                    found[f"{blocks}{number}.{rest}"] = tensor if cut is None else cut(tensor)
        return found


def queries_tap(candidates: Sequence[str]) -> str:
    """The last layer among the taps whose output is the concatenated queries, keys and values.

    Args:
        candidates: names of submodules, in the order of the net; those of didact's transformers end in `qkv`.

    Raises:
        ConfigError: there is none.
    """
    names = [name for name in candidates if name.rpartition(".")[2] == "qkv"]
    if not names:
        raise ConfigError(
            "The teacher has no layer `qkv` of queries, keys and values; give a transformer such as transformer:4x96, "
            "or name a layer that shows the three side by side as teacher_tap."
        )
    return names[-1]


def token_mask(batch: Batch) -> Tensor | None:
    """[B, T], 0 for padding; None without padding."""
    if "attention_mask" not in batch:
        return None
    return batch["attention_mask"]


def _places(whole: int, count: int) -> list[int]:
    """The blocks that are kept, evenly spaced from the first."""
    return [number * whole // count for number in range(count)]


def _block(encoder: Encoder, at: int) -> EncoderBlock:
    return cast(EncoderBlock, encoder.blocks[at])


def _units(block: EncoderBlock) -> int:
    return cast(nn.Linear, block.mlp[0]).out_features


def _width(attention: SelfAttention) -> int:
    """Of one head."""
    return attention.out.in_features // attention.heads


def _weights(encoder: Encoder, size: SubnetSize) -> int:
    first = _block(encoder, 0)
    return size.depth * first.attention.out.out_features * (4 * size.heads * _width(first.attention) + 2 * size.units)


def _resize(layer: nn.Linear, inner: int, outer: int) -> None:
    layer.in_features, layer.out_features = inner, outer
    layer.weight = nn.Parameter(layer.weight.new_empty(outer, inner))
    if layer.bias is not None:
        layer.bias = nn.Parameter(layer.bias.new_empty(outer))
