"""Small built-in nets, for experiments that take seconds.

Only `cnn` may normalise over the batch, if it is told to; splitting a batch changes nothing else.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from didact.types import Examples

WIDTH_OF_HEADS = 16
"""The smallest width of an attention head of the built-in transformer."""
STRETCHES = 16
"""About how many tokens it makes of a series."""
FIRST_KERNELS = (9, 5)
"""Steps that the first convolutions of `cnn1d` look at; all others look at 3."""
_LARGE = 1 << 23
"""Numbers of a table beyond which its mean and standard deviation are found a part at a time, which is faster."""


class Standardise(nn.Module):
    """Subtract a mean and divide by a standard deviation, both kept with the weights.

    Args:
        mean: broadcastable to one input.
        std: like `mean`; zeros are replaced by ones.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", torch.where(std > 0, std, torch.ones_like(std)))

    @classmethod
    def fit(cls, examples: Examples) -> "Standardise":
        """Fit to examples: by column for a table, by channel for images; of series, which are scaled, nothing."""
        x = examples.tensors["x"]
        if examples.modality == "series":
            return cls(torch.zeros(()), torch.ones(()))
        if examples.modality == "table" and x.numel() > _LARGE:
            return cls(*_moments(x))
        over = [0] if examples.modality == "table" else [0, *range(2, x.ndim)]
        mean, std = x.mean(over, keepdim=True)[0], x.std(over, correction=0, keepdim=True)[0]
        return cls(mean, std)

    def forward(self, x: Tensor) -> Tensor:
        """Shape kept."""
        return (x - self.mean) / self.std


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """The mean and standard deviation of large x [N, ...] over N, a part that fits into the cache at a time."""
    parts = x.split(max(_LARGE // 8 // x[0].numel(), 1))
    mean = torch.stack([part.sum(0) for part in parts]).double().sum(0) / len(x)
    squares = torch.stack([(part - mean.float()).square_().sum(0) for part in parts]).double().sum(0)
    return mean.float(), (squares / len(x)).sqrt().float()


class MaskedMean(nn.Module):
    """The mean of token vectors [B, T, D] over the tokens in a mask ([B, T], 0 for padding)."""

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return [B, D]."""
        if mask is None:
            return tokens.mean(1)
        weight = mask.to(tokens.dtype).unsqueeze(-1)
        return (tokens * weight).sum(1) / weight.sum(1).clamp(min=1.0)


def mlp(widths: Sequence[int], examples: Examples, outputs: int) -> nn.Module:
    """A multi-layer perceptron with ReLU; over text, on the mean of token embeddings of the first width."""
    if examples.modality == "text":
        return TextNet(
            nn.Embedding(examples.vocabulary, widths[0]), nn.Identity(), _dense(widths[0], widths[1:], outputs)
        )
    size = math.prod(examples.shape)
    return nn.Sequential(Standardise.fit(examples), nn.Flatten(), *_dense(size, widths, outputs))


def _dense(size: int, widths: Sequence[int], outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in widths:
        layers += [nn.Linear(size, width), nn.ReLU()]
        size = width
    return nn.Sequential(*layers, nn.Linear(size, outputs))


class ConvBlock(nn.Module):
    """A 3 x 3 convolution, normalisation by groups or by batch, and ReLU; halves sides that are longer than two."""

    def __init__(self, channels: int, width: int, *, by_batch: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width) if by_batch else nn.GroupNorm(_groups(width), width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, H, W] to [B, width, H/2, W/2]."""
        x = F.relu(self.norm(self.conv(x)))
        return F.max_pool2d(x, 2) if min(x.shape[-2:]) > 2 else x


def _groups(width: int) -> int:
    return max(g for g in range(1, min(8, width) + 1) if width % g == 0)


def cnn(widths: Sequence[int], examples: Examples, outputs: int, *, by_batch: bool = False) -> nn.Module:
    """Convolutional blocks of the given widths, a global mean, and a linear head."""
    blocks, channels = [], examples.shape[0]
    for width in widths:
        blocks.append(ConvBlock(channels, width, by_batch=by_batch))
        channels = width
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(Standardise.fit(examples), *blocks, pool, nn.Linear(channels, outputs))


class SeriesBlock(nn.Module):
    """A convolution over time that keeps the length, group normalisation and ReLU."""

    def __init__(self, channels: int, width: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, width, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.GroupNorm(_groups(width), width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, T] to [B, width, T]."""
        return F.relu(self.norm(self.conv(x)))


def cnn1d(widths: Sequence[int], examples: Examples, outputs: int) -> nn.Module:
    """The fully convolutional net for series of Wang, Yan & Oates (2017): blocks, a mean over time, a linear head.

    Departures: the kernels are 9, 5, 3, 3, ... where theirs were 8, 5, 3, so that a step has as many before as behind;
    groups of channels are normalised, not the batch.
    """
    channels, blocks = [examples.shape[0], *widths], list[nn.Module]()
    for place, width in enumerate(widths):
        kernel = FIRST_KERNELS[place] if place < len(FIRST_KERNELS) else 3
        blocks.append(SeriesBlock(channels[place], width, kernel))
    pool = nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten())
    return nn.Sequential(*blocks, pool, nn.Linear(channels[-1], outputs))


class SelfAttention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = max(h for h in range(1, max(1, width // WIDTH_OF_HEADS) + 1) if width % h == 0)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """[B, T, D] to [B, T, D]; tokens where the mask [B, T] is 0 are not attended to."""
        q, k, v = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = None if mask is None else mask.to(torch.bool)[:, None, None, :]
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        return self.out(mixed.transpose(1, 2).flatten(2))


class EncoderBlock(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), SelfAttention(width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        tokens = tokens + self.attention(self.norm1(tokens), mask)
        return tokens + self.mlp(self.norm2(tokens))


class Encoder(nn.Module):
    """Learned positions and transformer blocks, over tokens [B, T, D]."""

    def __init__(self, depth: int, width: int, length: int) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.randn(length, width) * 0.02)
        self.blocks = nn.ModuleList(EncoderBlock(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, T, D] to [B, T, D], for T up to `length`."""
        tokens = tokens + self.position[: tokens.shape[1]]
        for block in self.blocks:
            tokens = block(tokens, mask)
        return self.norm(tokens)


class ColumnTokens(nn.Module):
    """Each column of a table as a token: its value times a learned vector, plus another (Gorishniy et al. 2021)."""

    def __init__(self, columns: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(columns, width) / width**0.5)
        self.bias = nn.Parameter(torch.zeros(columns, width))

    def forward(self, x: Tensor) -> Tensor:
        """[B, columns] to [B, columns, D]."""
        return x.unsqueeze(-1) * self.weight + self.bias


class PatchTokens(nn.Module):
    """Square patches of an image, or stretches of a series, as tokens."""

    def __init__(self, channels: int, patch: int, width: int, kind: type[nn.Conv1d | nn.Conv2d] = nn.Conv2d) -> None:
        super().__init__()
        self.conv = kind(channels, width, patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, H, W] or [B, channels, steps] to [B, T, D]."""
        return self.conv(x).flatten(2).transpose(1, 2)


class TextNet(nn.Module):
    """Token embeddings, a body, a masked mean over tokens, and a head."""

    def __init__(self, embedding: nn.Module, body: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.embedding, self.body, self.pool, self.head = embedding, body, MaskedMean(), head

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """int64 [B, T] twice, to logits [B, C]."""
        tokens = self.embedding(input_ids)
        tokens = tokens if isinstance(self.body, nn.Identity) else self.body(tokens, attention_mask)
        return self.head(self.pool(tokens, attention_mask))


def transformer(depth: int, width: int, examples: Examples, outputs: int) -> nn.Module:
    """A pre-norm transformer encoder over patches, stretches, columns or tokens, their mean, and a linear head."""
    head = nn.Linear(width, outputs)
    if examples.modality == "text":
        embedding = nn.Embedding(examples.vocabulary, width)
        return TextNet(embedding, Encoder(depth, width, examples.shape[0]), head)
    if examples.modality == "table":
        tokens, length = ColumnTokens(examples.shape[0], width), examples.shape[0]
    elif examples.modality == "series":
        patch = max(1, examples.shape[1] // STRETCHES)
        tokens, length = PatchTokens(examples.shape[0], patch, width, nn.Conv1d), examples.shape[1] // patch
    else:
        channels, height, breadth = examples.shape
        patch = max(1, min(height, breadth) // 4)
        tokens = PatchTokens(channels, patch, width)
        length = (height // patch) * (breadth // patch)
    return nn.Sequential(Standardise.fit(examples), tokens, Encoder(depth, width, length), MaskedMean(), head)
