"""The weights of a Llama-shaped model in a layout for generation token by token.

Projections of the same states become one matrix; the gains of norms, the scale of attention and the column order of
rotary positions are merged into the matrices. Axis letters: N rows, D width, H heads of queries, G heads of keys (and
as many of values), E the size of a head.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from didact.learners.decoder import Llama, rotary_angles
from didact.types import Head

_SHAPED = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
_TURNS = ("default", "linear", "llama3", "yarn")
# From this number of weights on, oneDNN's packed product is faster than the plain one, which has less overhead.
_WORTH_PACKING = 2**17


class Product:
    """x W^T + b, with weights in a layout for few rows.

    Args:
        weight: [out, in]; copied.
        bias: [out].
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.bias = bias
        self.packed = _packable(weight)
        self.weight = (
            torch.ops.mkldnn._reorder_linear_weight(weight.contiguous()) if self.packed else weight.t().contiguous()
        )

    def __call__(self, x: Tensor) -> Tensor:
        """[N, in] to [N, out]."""
        if self.packed:
            return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")
        return torch.mm(x, self.weight) if self.bias is None else torch.addmm(self.bias, x, self.weight)

    def add(self, x: Tensor, to: Tensor) -> Tensor:
        """The same plus `to` [N, out], which may be overwritten."""
        if self.packed:
            return torch.ops.mkldnn._linear_pointwise.binary(x, to, self.weight, self.bias, "add")
        to = to.addmm_(x, self.weight)
        return to if self.bias is None else to.add_(self.bias)


def _packable(weight: Tensor) -> bool:
    return (
        weight.device.type == "cpu"
        and weight.dtype == torch.float32
        and weight.numel() >= _WORTH_PACKING
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedBlock:
    """One block of the model."""

    qkv: Product
    """D to (H + 2 G) E: queries, keys, values; the columns of a rotary pair are adjacent."""
    gains: Tensor | None
    """[H + G, E], if queries and keys have norms."""
    out: Product
    gate_up: Product
    down: Product


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """A whole model."""

    embedding: Tensor
    """[V, D]."""
    blocks: Sequence[PackedBlock]
    scores: Product
    """The head, with the gain of the last norm."""
    head: Head
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
        and all(map(_is_plain, _projections(stack)))
    )


def _projections(stack: Any) -> list[nn.Module]:
    return [
        part
        for layer in stack.layers
        for name, part in [*layer.self_attn.named_children(), *layer.mlp.named_children()]
        if name.endswith("_proj")
    ]


def _is_plain(part: Any) -> bool:
    """Whether a projection is a linear layer, at most with low-rank adapters."""
    if type(part) is nn.Linear:
        return True
    adapted = type(getattr(part, "base_layer", None)) is nn.Linear and hasattr(part, "get_delta_weight")
    return adapted and not any(getattr(part, "use_dora", {}).values())


def _weight(part: Any) -> Tensor:
    """The weights of a projection, with adapters merged."""
    if type(part) is nn.Linear:
        return part.weight
    weight = part.base_layer.weight
    if part.merged or part.disable_adapters:
        return weight
    return (weight + sum(part.get_delta_weight(adapter) for adapter in part.active_adapters)).to(weight.dtype)


def _bias(part: Any) -> Tensor | None:
    return getattr(part, "base_layer", part).bias


def pack(module: nn.Module, head: Head, length: int) -> Weights:
    """Copy the present weights into the layout.

    Args:
        module: one for which `is_llama_shaped` is true.
        head: its head.
        length: the longest sequence.
    """
    stack: Any = module.model
    attention: Any = stack.layers[0].self_attn
    size: int = attention.head_dim if hasattr(attention, "head_dim") else attention.head_size
    last: Any = stack.norm
    scores = Product(head.weight * _gain(last), head.bias)
    return Weights(
        embedding=stack.embed_tokens.weight,
        blocks=[_block(layer, size) for layer in stack.layers],
        scores=scores,
        head=head,
        eps=_eps(last),
        heads=attention.q_proj.out_features // size,
        kv_heads=attention.k_proj.out_features // size,
        head_size=size,
        turns=_turns(module, size, length),
    )


def _eps(norm: Any) -> float:
    return norm.eps if hasattr(norm, "eps") else norm.variance_epsilon


def _block(layer: Any, size: int) -> PackedBlock:
    attention, mlp = layer.self_attn, layer.mlp
    gain = _gain(layer.input_layernorm)
    second = _gain(layer.post_attention_layernorm)
    scale = size**-0.5
    normed = hasattr(attention, "q_norm")
    parts = [
        _paired(attention.q_proj, size, 1.0 if normed else scale),
        _paired(attention.k_proj, size, 1.0),
        (_weight(attention.v_proj), _bias(attention.v_proj)),
    ]
    return PackedBlock(
        qkv=_joined(parts, gain),
        gains=_gains(attention, size, scale) if normed else None,
        out=Product(_weight(attention.o_proj), _bias(attention.o_proj)),
        gate_up=_joined([(_weight(p), _bias(p)) for p in (mlp.gate_proj, mlp.up_proj)], second),
        down=Product(_weight(mlp.down_proj), _bias(mlp.down_proj)),
    )


def _gain(norm: Any) -> Tensor:
    """The gain of a norm for states that were divided by their length rather than by their root mean square."""
    return norm.weight * len(norm.weight) ** 0.5


def _joined(parts: Sequence[tuple[Tensor, Tensor | None]], gain: Tensor) -> Product:
    """Merge projections of the same states, with the gain of the norm before them."""
    biases = [bias for _, bias in parts if bias is not None]
    return Product(torch.cat([weight for weight, _ in parts]) * gain, torch.cat(biases) if biases else None)


def _pairs(size: int) -> Tensor:
    """The column order of a head that puts rotary pairs (i and i + E/2) side by side."""
    return torch.arange(size).view(2, size // 2).t().flatten()


def _paired(part: Any, size: int, scale: float) -> tuple[Tensor, Tensor | None]:
    """Weights and bias of queries or keys; the same permutation of columns in both changes no product."""
    weight, bias = _weight(part), _bias(part)
    pairs = _pairs(size).to(weight.device)
    weight = weight.view(-1, size, weight.shape[1])[:, pairs].flatten(0, 1) * scale
    return weight, None if bias is None else bias.view(-1, size)[:, pairs].flatten() * scale


def _gains(attention: Any, size: int, scale: float) -> Tensor:
    pairs = _pairs(size).to(attention.q_norm.weight.device)
    heads, kv_heads = attention.q_proj.out_features // size, attention.k_proj.out_features // size
    queries, keys = _gain(attention.q_norm)[pairs] * scale, _gain(attention.k_norm)[pairs]
    return torch.cat([queries.expand(heads, size), keys.expand(kv_heads, size)])


def _turns(module: Any, size: int, length: int) -> Tensor:
    weight = module.model.embed_tokens.weight
    positions = torch.arange(length, device=weight.device)[None]
    if isinstance(module, Llama):
        cos, sin = rotary_angles(positions, size, module.config.rope_theta)
        return torch.complex(cos, sin)[0]
    cos, sin = module.model.rotary_emb(weight.float()[:1], positions)
    return torch.complex(cos, sin)[0, :, None, : size // 2].contiguous()
