"""A small Llama in plain torch, whose weights are saved to and loaded from Hugging Face directories unchanged.

Root mean square norms before each part (Zhang & Sennrich 2019), rotary positions (Su et al. 2021), SwiGLU (Shazeer
2020), no biases: the architecture of Llama (Touvron et al. 2023). Parameters have the names that transformers'
`LlamaForCausalLM` gives them. Axis letters: B rows, T positions, D width, H heads, E the size of a head, V vocabulary.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from didact.documents import Document, read_object
from didact.errors import ConfigError, check_range
from didact.learners import foreign
from didact.learners.short_attention import attend, is_short, pair_columns
from didact.types import Head


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """The shape of a `Decoder`."""

    vocabulary: int
    layers: int
    width: int
    heads: int
    kv_heads: int
    """The number of key-value heads: `heads`, or a divisor of it for grouped-query attention."""
    mlp_width: int
    context: int = 512
    """The longest sequence."""
    tied: bool = True
    """Whether the head shares the weights of the embedding."""
    rope_theta: float = 10000.0
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        for name in ("vocabulary", "layers", "width", "heads", "kv_heads", "mlp_width", "context"):
            check_range(name, getattr(self, name), at_least=1)
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise ConfigError(
                f"width is {self.width} and heads is {self.heads}; each head must get the same, even number of columns."
            )
        if self.heads % self.kv_heads:
            raise ConfigError(f"kv_heads is {self.kv_heads}, but must divide heads, which is {self.heads}.")

    @property
    def head_size(self) -> int:
        """Columns of one head, E."""
        return self.width // self.heads

    @classmethod
    def small(cls, layers: int, width: int, *, vocabulary: int, context: int = 512) -> "DecoderConfig":
        """The shape of `decoder:LxD`: heads of 32 columns, and an MLP of about 8/3 of the width.

        Raises:
            ConfigError: a width above 32 that is no multiple of it, or an odd one.
        """
        head = min(32, width)
        if width % head or head % 2:
            raise ConfigError(
                f"The width of the decoder is {width}; an even number up to 32, or a multiple of 32, would work."
            )
        mlp = max(32, 32 * round(width * 8 / 3 / 32))
        heads = width // head
        return cls(
            vocabulary=vocabulary,
            layers=layers,
            width=width,
            heads=heads,
            kv_heads=heads,
            mlp_width=mlp,
            context=context,
        )


class Norm(nn.Module):
    """Root mean square norm with a gain, over the last axis."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] to the same."""
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


class CausalAttention(nn.Module):
    """Causal self-attention with rotary positions."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_size = config.heads, config.kv_heads, config.head_size
        width, kv_width = config.width, config.kv_heads * config.head_size
        self.q_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(width, kv_width, bias=False)
        self.v_proj = nn.Linear(width, kv_width, bias=False)
        self.o_proj = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None) -> Tensor:
        """[B, T, D] to the same; `cos` and `sin` [B or 1, T, 1, E/2]; `mask` bool [B, 1, T, T], None is causal."""
        B, T, _ = x.shape
        query, key, value = self.q_proj.weight, self.k_proj.weight, self.v_proj.weight
        short = mask is None and self.heads == self.kv_heads and is_short(x)
        if short:
            query, key = pair_columns(query, self.head_size), pair_columns(key, self.head_size)
        states = F.linear(x, torch.cat([query, key, value])).view(B, T, -1, self.head_size)
        if short:
            return self.o_proj(attend(states, torch.complex(cos, sin)[0, :, 0]))
        turned, v = states.split([self.heads + self.kv_heads, self.kv_heads], dim=2)
        q, k = apply_rotary(turned, cos, sin).transpose(1, 2).split([self.heads, self.kv_heads], dim=1)
        attended = F.scaled_dot_product_attention(
            q, k, v.transpose(1, 2), attn_mask=mask, is_causal=mask is None, enable_gqa=self.heads != self.kv_heads
        )
        return self.o_proj(attended.transpose(1, 2).reshape(B, T, -1))


class MLP(nn.Module):
    """SwiGLU."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.width, config.mlp_width, bias=False)
        self.up_proj = nn.Linear(config.width, config.mlp_width, bias=False)
        self.down_proj = nn.Linear(config.mlp_width, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] to the same."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class DecoderBlock(nn.Module):
    """Attention and an MLP, each with a norm before it and a residual connection."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.self_attn = CausalAttention(config)
        self.mlp = MLP(config)
        self.input_layernorm = Norm(config.width, config.norm_eps)
        self.post_attention_layernorm = Norm(config.width, config.norm_eps)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None) -> Tensor:
        """[B, T, D] to the same."""
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask)
        return x + self.mlp(self.post_attention_layernorm(x))


class Stack(nn.Module):
    """The embedding, the blocks and the final norm; a module of its own so that parameters have transformers' names."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocabulary, config.width)
        self.layers = nn.ModuleList(DecoderBlock(config) for _ in range(config.layers))
        self.norm = Norm(config.width, config.norm_eps)
        self.checkpointing = False
        """Whether blocks are computed again in the backward pass, so that only their inputs are kept for it."""

    def forward(self, input_ids: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None) -> Tensor:
        """int64 [B, T] to states [B, T, D]."""
        x = self.embed_tokens(input_ids)
        again = self.checkpointing and self.training and torch.is_grad_enabled()
        for layer in self.layers:
            x = checkpoint(layer, x, cos, sin, mask, use_reentrant=False) if again else layer(x, cos, sin, mask)
        return self.norm(x)


class Llama(nn.Module):
    """A causal language model of Llama's architecture, up to its head.

    Args:
        config: its shape.
    """

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Stack(config)
        self.lm_head = None if config.tied else nn.Linear(config.width, config.vocabulary, bias=False)

    @property
    def head(self) -> Head:
        """The head, which maps hidden states to scores; it shares the model's weights."""
        return Head(self.model.embed_tokens.weight if self.lm_head is None else self.lm_head.weight)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, segments: Tensor | None = None
    ) -> Tensor:
        """Compute the hidden states before the head.

        Args:
            input_ids: int64 [B, T], padded on the right.
            attention_mask: ignored, since a causal model does not attend to padding on the right. States at padding are
                meaningless.
            segments: int64 [B, T]; where several sequences share a row, the number of each token's sequence. They do
                not attend to each other, and positions start at 0 in each.

        Returns:
            [B, T, D], after the final norm.
        """
        mask = None if segments is None else packed_mask(segments)
        positions = (
            torch.arange(input_ids.shape[1], device=input_ids.device)[None]
            if segments is None
            else packed_positions(segments)
        )
        dtype = self.model.embed_tokens.weight.dtype
        cos, sin = rotary_angles(positions, self.config.head_size, self.config.rope_theta)
        return self.model(input_ids, cos.to(dtype), sin.to(dtype), mask)


class Decoder(Llama):
    """The built-in model: a `Llama` that is initialised on the CPU in float32.

    Weights are drawn from a normal distribution of deviation 1 / sqrt(columns), so that states keep their magnitude at
    any width (the usual 0.02 suits widths near 2,500; at 64, attention then takes hundreds of steps to develop). Those
    that write into the residual stream are also divided by sqrt(2 layers), as in GPT-2 (Radford et al. 2019).

    Args:
        config: its shape.
        seed: of the weights; torch's generators are not changed.
    """

    def __init__(self, config: DecoderConfig, *, seed: int = 0) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            super().__init__(config)
            self._draw()

    def _draw(self) -> None:
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                inner = name.endswith(("o_proj.weight", "down_proj.weight"))
                deviation = parameter.shape[1] ** -0.5
                nn.init.normal_(parameter, std=deviation / math.sqrt(2 * self.config.layers) if inner else deviation)


def rotary_angles(positions: Tensor, head_size: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines of rotary positions (Su et al. 2021).

    Args:
        positions: int64 [B, T].
        head_size: E, even.
        theta: the base of the wavelengths.

    Returns:
        Two float32 [B, T, 1, E/2], for states [B, T, H, E].
    """
    angles = positions[..., None, None] * rotary_frequencies(head_size, theta, device=positions.device)
    return angles.cos(), angles.sin()


def rotary_frequencies(head_size: int, theta: float, *, device: torch.device | None = None) -> Tensor:
    """The rotation angles per position of the pairs of a head's columns: float32 [E/2]."""
    steps = torch.arange(0, head_size, 2, device=device, dtype=torch.float32) / head_size
    return 1.0 / theta**steps


def apply_rotary(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate pairs of columns (i, i + E/2) of heads [B, T, H, E] by the angles of `rotary_angles`."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def packed_positions(segments: Tensor) -> Tensor:
    """Positions that start at 0 in each segment.

    Args:
        segments: int64 [B, T]; equal numbers are adjacent.

    Returns:
        int64 [B, T].
    """
    there = torch.arange(segments.shape[1], device=segments.device).expand_as(segments)
    begins = torch.ones_like(segments, dtype=torch.bool)
    begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
    return there - torch.where(begins, there, 0).cummax(dim=1).values


def packed_mask(segments: Tensor, window: int | None = None) -> Tensor:
    """The causal attention mask of rows with several sequences: a token attends to its own segment only.

    Padding attends to padding, so that no row of the mask is empty.

    Args:
        segments: int64 [B, T].
        window: the number of tokens, itself included, that a token attends to at most; None for all.

    Returns:
        bool [B, 1, T, T], True where the query (third axis) attends to the key (fourth).
    """
    there = torch.arange(segments.shape[1], device=segments.device)
    back = there[:, None] - there[None]
    seen = (back >= 0) if window is None else (back >= 0) & (back < window)
    return (segments[:, None, :, None] == segments[:, None, None, :]) & seen


def save_decoder(decoder: Decoder, directory: Path, *, bos: int | None, eos: int, pad: int) -> None:
    """Write `config.json` and `model.safetensors` as transformers writes a Llama.

    Args:
        decoder: the model.
        directory: an existing one.
        bos: the id that begins a sequence, or None.
        eos: the id that ends one.
        pad: the id of padding.
    """
    config = decoder.config
    dtype = str(decoder.model.embed_tokens.weight.dtype).removeprefix("torch.")
    written = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": config.vocabulary,
        "hidden_size": config.width,
        "intermediate_size": config.mlp_width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_size,
        "max_position_embeddings": config.context,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "tie_word_embeddings": config.tied,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "initializer_range": 0.02,
        "bos_token_id": bos,
        "eos_token_id": eos,
        "pad_token_id": pad,
        "dtype": dtype,
        "torch_dtype": dtype,
    }
    (directory / "config.json").write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in decoder.state_dict().items()}
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})


def load_decoder(directory: Path, dtype: torch.dtype | None = None) -> Decoder:
    """Read a plain Llama (no biases, no scaled positions, one file of weights) as a `Decoder`.

    Args:
        directory: with `config.json` and `model.safetensors`.
        dtype: of the weights; None for the stored one.

    Raises:
        ConfigError: it is missing, broken, or of another architecture.
    """
    try:
        written = read_object(directory / "config.json")
        config = _decoder_config(written)
        foreign.check_parameters(directory, lambda: Decoder(config))
        weights = load_file(directory / "model.safetensors")
        decoder = Decoder(config)
        decoder.load_state_dict(weights)
        stored = weights["model.embed_tokens.weight"].dtype
    except ConfigError as error:
        raise ConfigError(f"{str(directory)!r} can't be read as a decoder: {error}") from error
    except Exception as error:
        raise ConfigError(
            f"{str(directory)!r} can't be read as a decoder: {str(error).splitlines()[0]} Give a directory that a run "
            "of didact wrote."
        ) from error
    return decoder.to(dtype or stored)


def _decoder_config(written: Document) -> DecoderConfig:
    rope = written.get("rope_parameters") or {"rope_theta": written.get("rope_theta", 10000.0)}
    rope = {"rope_type": "default", **rope, **(written.get("rope_scaling") or {})}
    heads = written["num_attention_heads"]
    plain = {
        "model_type": (written.get("model_type"), "llama"),
        "hidden_act": (written.get("hidden_act", "silu"), "silu"),
        "attention_bias": (written.get("attention_bias", False), False),
        "mlp_bias": (written.get("mlp_bias", False), False),
        "rope_type": (rope["rope_type"], "default"),
        "head_dim": (written.get("head_dim") or written["hidden_size"] // heads, written["hidden_size"] // heads),
    }
    for name, (found, wanted) in plain.items():
        if found != wanted:
            raise ConfigError(f"{name} is {found!r} in its config.json, where a decoder has {wanted!r}.")
    return DecoderConfig(
        vocabulary=written["vocab_size"],
        layers=written["num_hidden_layers"],
        width=written["hidden_size"],
        heads=heads,
        kv_heads=written.get("num_key_value_heads") or heads,
        mlp_width=written["intermediate_size"],
        context=written["max_position_embeddings"],
        tied=written.get("tie_word_embeddings", False),
        rope_theta=rope["rope_theta"],
        norm_eps=written["rms_norm_eps"],
    )
