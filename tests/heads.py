"""Heads of a vocabulary for tests: random ones, what they say by a slow transcription, and small chunks."""

import contextlib

import numpy as np
import torch

from didact.losses.tokens import _fused
from didact.types import Head


@contextlib.contextmanager
def chunks_of(scores, block=None, dense=0):
    """Go through so many scores at a time, whatever the size."""
    before = _fused.CHUNK, _fused.BLOCK, _fused.DENSE
    _fused.CHUNK, _fused.BLOCK, _fused.DENSE = scores, block or scores, dense
    try:
        yield
    finally:
        _fused.CHUNK, _fused.BLOCK, _fused.DENSE = before


def draw(seed, tokens, vocabulary, width, *, bias=False, scale=1.0, softcap=None, dtype=torch.float32):
    """Hidden states and a head, all of which need a gradient."""
    generator = torch.Generator().manual_seed(seed)
    hidden, weight, shift = (
        torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
        for shape in ((tokens, width), (vocabulary, width), (vocabulary,))
    )
    return hidden, Head(weight, shift if bias else None, scale, softcap)


def trained(hidden, head):
    """Whatever gets a gradient."""
    return [tensor for tensor in (hidden, head.weight, head.bias) if tensor is not None]


def slow_scores(hidden, head, temperature=1.0):
    """One score after another, as the definition of a head says."""
    states, weight = hidden.detach().double().numpy(), head.weight.detach().double().numpy()
    bias = np.zeros(len(weight)) if head.bias is None else head.bias.detach().double().numpy()
    temperatures = np.broadcast_to(temperature, len(states))
    rows = []
    for state, heat in zip(states, temperatures, strict=True):
        scores = [
            head.scale * (sum(w * h for w, h in zip(row, state, strict=True)) + b)
            for row, b in zip(weight, bias, strict=True)
        ]
        if head.softcap is not None:
            scores = [head.softcap * np.tanh(score / head.softcap) for score in scores]
        rows.append([score / heat for score in scores])
    return np.array(rows).reshape(len(states), len(weight))


def slow_probs(scores):
    """Softmax of each row."""
    exponentials = np.exp(scores - scores.max(1, keepdims=True)) if scores.size else scores
    return exponentials / exponentials.sum(1, keepdims=True)


def distance(found, expected):
    """The largest distance of gradients from others, in relation to the size of those."""
    pairs = zip(found, expected, strict=True)
    return max(float((a.double() - b.double()).norm() / b.double().norm()) for a, b in pairs)
