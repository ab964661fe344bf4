"""The weights of a Llama-shaped model for generation token by token, in one of two layouts.

Small models are copied: projections of the same states become one matrix; the gains of norms, the scale of attention
and the column order of rotary positions are merged into the matrices. The weights of large models, of models on a GPU
and of those in half precision are used as they are: a copy would double the memory, and hardly save time. Axis letters:
N rows, D width, H heads of queries, G heads of keys (and as many of values), E the size of a head.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from didact.learners.decoder import Llama, rotary_angles
from didact.types import Head

_SHAPED = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
_TURNS = ("default", "linear", "llama3", "yarn")
COPIED = 2**24
"""The largest number of weights that are copied (64 MiB)."""
# From this number of weights on, oneDNN's product is faster than the plain one, which has less overhead.
_WORTH_PACKING = 2**17
_WORTH_ONEDNN = 2**19
"""The same for weights that are not packed."""


class Product(Protocol):
    """Linear layers of the same states."""

    def __call__(self, x: Tensor) -> Tensor:
        """[N, in] to [N, out], side by side."""
        ...

    def parts(self, x: Tensor) -> Sequence[Tensor]:
        """The result of each layer."""
        ...

    def add(self, x: Tensor, to: Tensor) -> Tensor:
        """The result of a single layer plus `to` [N, out], which may be overwritten."""
        ...


class CopiedProduct:
    """x W^T + b, with weights in a layout for few rows.

    Args:
        weight: [out, in]; copied.
        bias: [out].
        count: how many layers of equal size it joins.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None, count: int = 1) -> None:
        self.bias, self.count = bias, count
        self.packed = _packable(weight, _WORTH_PACKING)
        self.weight = (
            torch.ops.mkldnn._reorder_linear_weight(weight.contiguous()) if self.packed else weight.t().contiguous()
        )

    def __call__(self, x: Tensor) -> Tensor:
        """See `Product`."""
        if self.packed:
            return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")
        return torch.mm(x, self.weight) if self.bias is None else torch.addmm(self.bias, x, self.weight)

    def parts(self, x: Tensor) -> Sequence[Tensor]:
        """See `Product`."""
        return self(x).chunk(self.count, 1)

    def add(self, x: Tensor, to: Tensor) -> Tensor:
        """See `Product`."""
        if self.packed:
            return torch.ops.mkldnn._linear_pointwise.binary(x, to, self.weight, self.bias, "add")
        to = to.addmm_(x, self.weight)
        return to if self.bias is None else to.add_(self.bias)


class SharedProduct:
    """The model's own layers, with their own weights.

    Args:
        layers: linear layers, perhaps with adapters; or a head.
    """

    def __init__(self, *layers: Any) -> None:
        self.layers = layers

    def __call__(self, x: Tensor) -> Tensor:
        """See `Product`."""
        found = self.parts(x)
        return found[0] if len(found) == 1 else torch.cat(found, 1)

    def parts(self, x: Tensor) -> list[Tensor]:
        """See `Product`."""
        return [_applied(layer, x) for layer in self.layers]

    def add(self, x: Tensor, to: Tensor) -> Tensor:
        """See `Product`."""
        return to.add_(_applied(self.layers[0], x))


def _applied(layer: Any, x: Tensor) -> Tensor:
    """A layer's result; for few rows, oneDNN's product is faster than the usual one on a CPU."""
    if type(layer) not in (nn.Linear, Head):
        return layer(x)
    if _packable(layer.weight, _WORTH_ONEDNN):
        return torch.ops.mkldnn._linear_pointwise(x, layer.weight, layer.bias, "none", [], "")
    return F.linear(x, layer.weight, layer.bias)


def _packable(weight: Tensor, least: int) -> bool:
    return (
        weight.device.type == "cpu"
        and weight.dtype == torch.float32
        and weight.numel() >= least
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedBlock:
    """One block of the model."""

    qkv: Product
    """D to (H + 2 G) E: queries, keys, values."""
    before: Tensor | None
    """[D], the gain of the norm before attention, unless it is merged."""
    gains: Tensor | None
    """[H + G, E], if queries and keys have norms."""
    out: Product
    after: Tensor | None
    """[D], the gain of the norm before the MLP, unless it is merged."""
    gate_up: Product
    down: Product


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """A whole model."""

    embedding: Tensor
    """[V, D]."""
    blocks: Sequence[PackedBlock]
    last: Tensor | None
    """[D], the gain of the last norm, unless it is merged."""
    scores: Product
    """The head."""
    head: Head
    scale: float
    """Of attention, unless it is merged."""
    paired: bool
    """Whether the columns of a rotary pair are adjacent, or half a head apart."""
    eps: float
    heads: int
    kv_heads: int
    head_size: int
    turns: Tensor
    """complex64 [T, 1, E / 2]: the factors of pairs of columns at each position."""


def is_llama_shaped(module: nn.Module, length: int) -> bool:
    """Whether `pack` supports a model.

    Args:
        module: a `Llama`, or a model of `AutoModelForCausalLM`.
        length: the longest sequence; within it, attention must not be windowed.
    """
    if isinstance(module, Llama):
        return True
    if type(module).__name__ not in _SHAPED:
        return False
    config: Any = module.config
    stack: Any = module.model
    windowed = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    return (
        config.hidden_act == "silu"
        and getattr(stack.rotary_emb, "rope_type", None) in _TURNS
        and (not windowed or config.sliding_window >= length)
    )


def projections(stack: Any) -> list[nn.Module]:
    """The linear layers of the blocks."""
    return [
        part
        for layer in stack.layers
        for name, part in [*layer.self_attn.named_children(), *layer.mlp.named_children()]
        if name.endswith("_proj")
    ]


def is_plain(part: Any) -> bool:
    """Whether a projection is a linear layer, at most with low-rank adapters."""
    if type(part) is nn.Linear:
        return True
    adapted = type(getattr(part, "base_layer", None)) is nn.Linear and hasattr(part, "get_delta_weight")
    return adapted and not any(getattr(part, "use_dora", {}).values())


def merged_weight(part: Any) -> Tensor:
    """The weights of a projection, with adapters merged."""
    if type(part) is nn.Linear:
        return part.weight
    weight = part.base_layer.weight
    if part.merged or part.disable_adapters:
        return weight
    return (weight + sum(part.get_delta_weight(adapter) for adapter in part.active_adapters)).to(weight.dtype)


def _bias(part: Any) -> Tensor | None:
    return getattr(part, "base_layer", part).bias


def pack(module: nn.Module, head: Head, length: int, product: Callable[..., Product] | None = None) -> Weights:
    """The present weights in the layout that pays.

    Args:
        module: one for which `is_llama_shaped` is true.
        head: its head.
        length: the longest sequence.
        product: makes the products of layers, in the place of both layouts.
    """
    stack: Any = module.model
    attention: Any = stack.layers[0].self_attn
    size: int = attention.head_dim if hasattr(attention, "head_dim") else attention.head_size
    copied, last = product is None and _is_copied(module, head), _gain(stack.norm)
    shared = SharedProduct if product is None else product
    blocks = [_copied_block(layer, size) if copied else _shared_block(layer, size, shared) for layer in stack.layers]
    return Weights(
        embedding=stack.embed_tokens.weight,
        blocks=blocks,
        last=None if copied else last,
        scores=CopiedProduct(head.weight * last, head.bias) if copied else shared(head),
        head=head,
        scale=1.0 if copied else size**-0.5,
        paired=copied,
        eps=_eps(stack.norm),
        heads=attention.q_proj.out_features // size,
        kv_heads=attention.k_proj.out_features // size,
        head_size=size,
        turns=_turns(module, size, length),
    )


def _is_copied(module: nn.Module, head: Head) -> bool:
    small = sum(p.numel() for p in module.parameters()) <= COPIED
    cheap = small and head.weight.device.type == "cpu" and head.weight.dtype.itemsize >= 4
    return cheap and all(map(is_plain, projections(module.model)))


def _eps(norm: Any) -> float:
    return norm.eps if hasattr(norm, "eps") else norm.variance_epsilon


def _copied_block(layer: Any, size: int) -> PackedBlock:
    attention, mlp = layer.self_attn, layer.mlp
    gain = _gain(layer.input_layernorm)
    second = _gain(layer.post_attention_layernorm)
    scale = size**-0.5
    normed = hasattr(attention, "q_norm")
    parts = [
        _paired(attention.q_proj, size, 1.0 if normed else scale),
        _paired(attention.k_proj, size, 1.0),
        (merged_weight(attention.v_proj), _bias(attention.v_proj)),
    ]
    return PackedBlock(
        qkv=_joined(parts, gain),
        before=None,
        gains=_gains(attention, size, scale, _pairs(size)) if normed else None,
        out=CopiedProduct(merged_weight(attention.o_proj), _bias(attention.o_proj)),
        after=None,
        gate_up=_joined([(merged_weight(p), _bias(p)) for p in (mlp.gate_proj, mlp.up_proj)], second),
        down=CopiedProduct(merged_weight(mlp.down_proj), _bias(mlp.down_proj)),
    )


def _shared_block(layer: Any, size: int, product: Callable[..., Product]) -> PackedBlock:
    attention, mlp = layer.self_attn, layer.mlp
    return PackedBlock(
        qkv=product(attention.q_proj, attention.k_proj, attention.v_proj),
        before=_gain(layer.input_layernorm),
        gains=_gains(attention, size, 1.0, torch.arange(size)) if hasattr(attention, "q_norm") else None,
        out=product(attention.o_proj),
        after=_gain(layer.post_attention_layernorm),
        gate_up=product(mlp.gate_proj, mlp.up_proj),
        down=product(mlp.down_proj),
    )


def _gain(norm: Any) -> Tensor:
    """The gain of a norm for states that were divided by their length rather than by their root mean square."""
    return norm.weight * len(norm.weight) ** 0.5


def _joined(parts: Sequence[tuple[Tensor, Tensor | None]], gain: Tensor) -> CopiedProduct:
    """Merge projections of the same states, with the gain of the norm before them."""
    biases = [bias for _, bias in parts if bias is not None]
    joined = torch.cat([weight for weight, _ in parts]) * gain
    return CopiedProduct(joined, torch.cat(biases) if biases else None, len(parts))


def _pairs(size: int) -> Tensor:
    """The column order of a head that puts rotary pairs (i and i + E/2) side by side."""
    return torch.arange(size).view(2, size // 2).t().flatten()


def _paired(part: Any, size: int, scale: float) -> tuple[Tensor, Tensor | None]:
    """Weights and bias of queries or keys; the same permutation of columns in both changes no product."""
    weight, bias = merged_weight(part), _bias(part)
    pairs = _pairs(size).to(weight.device)
    weight = weight.view(-1, size, weight.shape[1])[:, pairs].flatten(0, 1) * scale
    return weight, None if bias is None else bias.view(-1, size)[:, pairs].flatten() * scale


def _gains(attention: Any, size: int, scale: float, columns: Tensor) -> Tensor:
    columns = columns.to(attention.q_norm.weight.device)
    heads, kv_heads = attention.q_proj.out_features // size, attention.k_proj.out_features // size
    queries, keys = _gain(attention.q_norm)[columns] * scale, _gain(attention.k_norm)[columns]
    return torch.cat([queries.expand(heads, size), keys.expand(kv_heads, size)])


def _turns(module: Any, size: int, length: int) -> Tensor:
    weight = module.model.embed_tokens.weight
    positions = torch.arange(length, device=weight.device)[None]
    if isinstance(module, Llama):
        cos, sin = rotary_angles(positions, size, module.config.rope_theta)
        return torch.complex(cos, sin)[0]
    cos, sin = module.model.rotary_emb(weight.float()[:1], positions)
    return torch.complex(cos, sin)[0, :, None, : size // 2].contiguous()
