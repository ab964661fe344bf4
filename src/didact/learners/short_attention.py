"""Causal attention with rotary positions for short sequences on a CPU, where storing all its weights is fastest.

Queries, keys and values are transposed in one copy, heads first, and rotated in place; the backward pass writes into
one tensor. Axis letters: B rows, T positions, H heads, E the size of a head.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

LONGEST = 96
"""The number of positions up to which this is faster than `scaled_dot_product_attention`."""


def is_short(x: Tensor) -> bool:
    """Whether to use `attend` for states [B, T, D]."""
    plain = x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return plain and x.shape[1] <= LONGEST


def pair_columns(weight: Tensor, head_size: int) -> Tensor:
    """The weights [H E, D] of queries or keys, with columns that rotate together (i and i + E/2) side by side."""
    return weight.view(-1, 2, head_size // 2, weight.shape[1]).transpose(1, 2).reshape(weight.shape)


def attend(states: Tensor, turns: Tensor) -> Tensor:
    """Rotate queries and keys by their positions, and let each position attend to itself and earlier ones.

    Args:
        states: float32 [B, T, 3 H, E]: queries, keys (both from weights of `pair_columns`) and values.
        turns: complex64 [T, E/2], the factors of pairs of columns.

    Returns:
        float32 [B, T, H E]; differentiable once, with respect to `states`.
    """
    return _Attention.apply(states, turns)


class _Attention(torch.autograd.Function):
    """Saves the transposed input and the weights [H B, T, T]."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, turns: Tensor) -> Tensor:
        """Two products of many small matrices."""
        B, T, _, E = states.shape
        laid = states.permute(2, 0, 1, 3).contiguous()
        _turn(laid, turns)
        q, k, v = laid.view(3, -1, T, E)
        future = states.new_full((T, T), -torch.inf).triu_(1)
        weights = torch.baddbmm(future, q, k.transpose(1, 2), alpha=E**-0.5).softmax(-1)
        ctx.save_for_backward(laid, weights, turns)
        return torch.bmm(weights, v).view(-1, B, T, E).permute(1, 2, 0, 3).reshape(B, T, -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Four more."""
        laid, weights, turns = ctx.saved_tensors
        _, B, T, E = laid.shape
        q, k, v = laid.view(3, -1, T, E)
        pulled = grads[0].view(B, T, -1, E).permute(2, 0, 1, 3).reshape(-1, T, E)
        of_weights = torch.bmm(pulled, v.transpose(1, 2))
        of_scores = torch.ops.aten._softmax_backward_data(of_weights, weights, -1, weights.dtype).mul_(E**-0.5)
        found = torch.empty_like(laid)
        for_q, for_k, for_v = found.view(3, -1, T, E)
        torch.bmm(of_scores, k, out=for_q)
        torch.bmm(of_scores.transpose(1, 2), q, out=for_k)
        torch.bmm(weights.transpose(1, 2), pulled, out=for_v)
        _turn(found, turns.conj())
        return found.permute(1, 2, 0, 3), None


def _turn(laid: Tensor, turns: Tensor) -> None:
    """Multiply pairs of columns of queries and keys by complex numbers [T, E/2], in place; laid is [3 H, B, T, E]."""
    turned = laid[: len(laid) // 3 * 2]
    torch.view_as_complex(turned.unflatten(-1, (-1, 2))).mul_(turns)
