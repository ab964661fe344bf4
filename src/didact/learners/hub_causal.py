"""Hugging Face causal language models: loading them, their states and head, packing, low-rank adapters, saving."""

import contextlib
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from didact.documents import Document
from didact.errors import ConfigError, import_optional
from didact.learners import foreign
from didact.learners.decoder import packed_mask, packed_positions
from didact.learners.huggingface import _explained, _quiet, _transformers, explain_errors
from didact.types import Head

_UNLIMITED = 1_000_000
_SCALES = ("logit_scale", "logits_scaling", "lm_head_multiplier")


@dataclass(frozen=True)
class HeadScaling:
    """The scale and cap of a model's scores, besides the weights of its last layer."""

    scale: float = 1.0
    softcap: float | None = None


def load_model(name: str, dtype: torch.dtype | None, *, bits: int | None = None) -> Any:
    """Load a pretrained causal language model; no code that comes with it is run, and nothing is unpickled.

    Args:
        name: directory or hub name; its weights must be safetensors.
        dtype: of the weights; None for the stored one, but float32 for float16, whose range is too small for gradients.
        bits: 4 or 8 quantises the weights, see `didact.learners.adapters.Adapters`.

    Returns:
        The model in evaluation mode, on the CPU; a quantised one on the GPU, if there is one.

    Raises:
        ConfigError: it is missing, of another kind, or lacks weights.
        MissingExtraError: transformers or bitsandbytes is not installed.
    """
    foreign.check_weights(name)
    transformers = _transformers()
    major, minor = (int(part) for part in transformers.__version__.split(".")[:2])
    option = "dtype" if (major, minor) >= (4, 56) else "torch_dtype"
    auto = transformers.AutoModelForCausalLM
    quantised = _quantised(transformers, dtype, bits) if bits else {}
    with _explained(name, "causal language model"), _quiet():
        config = transformers.AutoConfig.from_pretrained(name, trust_remote_code=False)
        wanted = dtype or (torch.float32 if getattr(config, option, None) == torch.float16 else "auto")
        itemsize = bits / 8 if bits else getattr(wanted, "itemsize", 2)
        foreign.check_parameters(name, lambda: auto.from_config(config, trust_remote_code=False), itemsize=itemsize)
        model, info = auto.from_pretrained(
            name,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            **{option: wanted},
            **quantised,
        )
    missing = sorted(info["missing_keys"])
    if missing:
        raise ConfigError(
            f"The weights in {name!r} are not those of the {type(model).__name__} that its config.json speaks of: "
            f"{', '.join(missing[:3])} {'is' if len(missing) == 1 else 'are'} missing. Give the directory of a causal "
            "language model that save_pretrained wrote."
        )
    # Without a dtype in its config.json, the first weights decide.
    return model.float() if dtype is None and not bits and model.dtype == torch.float16 else model


def _quantised(transformers: Any, dtype: torch.dtype | None, bits: int) -> Document:
    """The arguments of `from_pretrained` for quantised weights."""
    import_optional("bitsandbytes", "qlora", "Quantised weights")
    four = {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True,
        "bnb_4bit_compute_dtype": dtype or torch.bfloat16,
    }
    config = transformers.BitsAndBytesConfig(**({"load_in_8bit": True} if bits == 8 else four))
    place = torch.cuda.current_device() if torch.cuda.is_available() else "cpu"
    return {"quantization_config": config, "device_map": {"": place}}


def load_gguf(path: Path, dtype: torch.dtype | None) -> Any:
    """Load a causal language model from a GGUF file, which holds no code.

    Args:
        path: the file.
        dtype: the dtype of the dequantised weights; None for float32.

    Returns:
        A plain model of its class in evaluation mode, on the CPU, as loaded from safetensors.

    Raises:
        ConfigError: the file is broken, or transformers cannot read it.
        MissingExtraError: transformers or gguf is not installed.
    """
    foreign.check_gguf(path)
    with explain_errors(str(path), "causal language model"), _quiet(), foreign.gguf_file(path) as place:
        read = _transformers().AutoModelForCausalLM.from_pretrained(**place, trust_remote_code=False)
    # A dequantised model still counts as quantised, and refuses to be cast.
    config = copy.deepcopy(read.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    # It takes the tensors themselves, so that there is no second copy of them.
    with torch.device("meta"):
        plain = type(read)(config)
    plain.load_state_dict(read.state_dict(), assign=True)
    for name, part in plain.named_modules():
        part._buffers.update(read.get_submodule(name)._buffers)
    plain.tie_weights()
    plain.generation_config = read.generation_config
    return plain.to(dtype or torch.float32).eval()


def generation_ends(model: Any) -> tuple[int, ...]:
    """The `eos_token_id`s of a model's `generation_config`."""
    found = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    return tuple(found) if isinstance(found, list | tuple) else () if found is None else (int(found),)


def context_of(model: Any) -> int:
    """The longest sequence that a model can take; a million where it has no limit."""
    return int(getattr(model.config.get_text_config(), "max_position_embeddings", None) or _UNLIMITED)


def head_of(model: Any, scaling: HeadScaling) -> Head:
    """The head of a model, which shares its weights."""
    last = model.get_output_embeddings()
    return Head(last.weight, getattr(last, "bias", None), scaling.scale, scaling.softcap)


def hidden_states(model: Any, input_ids: Tensor, segments: Tensor | None = None) -> Tensor:
    """Compute the hidden states before the head.

    Args:
        model: of `AutoModelForCausalLM`.
        input_ids: int64 [B, T], padded on the right, which a causal model does not attend to, so that it needs no mask.
        segments: int64 [B, T]; see `Batch`.

    Returns:
        [B, T, D].
    """
    packing = {} if segments is None else _packing(model, segments)
    return model.get_decoder()(input_ids=input_ids, use_cache=False, **packing).last_hidden_state


def _packing(model: Any, segments: Tensor) -> Document:
    """Positions and an additive mask for rows of several sequences, for each kind of attention that the model has."""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ())
    window = getattr(config, "sliding_window", None) if not kinds or "sliding_attention" in kinds else None
    window = window if window is not None and window < segments.shape[1] else None
    masks = {
        kind: _additive(packed_mask(segments, window if kind == "sliding_attention" else None), model.dtype)
        for kind in (kinds if window and len(kinds) > 1 else ())
    }
    mask = masks or _additive(packed_mask(segments, window), model.dtype)
    return {"attention_mask": mask, "position_ids": packed_positions(segments)}


def _additive(seen: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, torch.finfo(dtype).min)


@contextlib.contextmanager
def _calmly(model: nn.Module) -> Iterator[None]:
    """Disable dropout and gradients within this context."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


def _some_tokens(model: Any, head: Head, length: int) -> Tensor:
    drawn = torch.randint(head.vocabulary, (1, length), generator=torch.Generator().manual_seed(0))
    return drawn.to(model.get_output_embeddings().weight.device)


def _near(model: Any, found: Tensor, wanted: Tensor) -> bool:
    """Whether two tensors are equal within 1e-4 of the largest magnitude, or within the precision of the weights."""
    exact = 1e-4 if wanted.dtype in (torch.float32, torch.float64) else 3e-2
    tolerance = 0.1 if getattr(model, "is_quantized", False) else exact
    return bool((found - wanted).abs().max() <= tolerance * wanted.abs().max())


def find_head_scaling(model: Any, name: str) -> HeadScaling:
    """Find the scale and cap of a model's scores, and check them on two tokens.

    Args:
        model: of `AutoModelForCausalLM`.
        name: where it came from, for messages.

    Raises:
        ConfigError: its head is more than a scaled and capped linear layer; or it is not causal.
    """
    if not isinstance(getattr(model.get_output_embeddings(), "weight", None), Tensor):
        raise ConfigError(f"{name!r} ({type(model).__name__}) has no linear head; give another causal language model.")
    ids = _some_tokens(model, head_of(model, HeadScaling()), 2)
    with _calmly(model):
        with explain_errors(name, "causal language model"):
            logits, hidden = model(input_ids=ids, use_cache=False).logits, hidden_states(model, ids)
            alone = hidden_states(model, ids[:, :1])
        if not _near(model, hidden[:, :1], alone):
            raise ConfigError(
                f"{name!r} ({type(model).__name__}) lets a token see those after it, so that it is no causal language "
                "model; give one that is."
            )
        for scaling in _head_scalings(model):
            if _near(model, head_of(model, scaling)(hidden), logits):
                return scaling
    raise ConfigError(
        f"The scores of {name!r} ({type(model).__name__}) are not its last layer times the states before it, scaled "
        "and capped as its config.json says, or are not finite; losses can't work on its states. Give another model."
    )


def _head_scalings(model: Any) -> list[HeadScaling]:
    """The possible meanings of the configuration: some models multiply by the scale, others divide by it."""
    config = model.config.get_text_config()
    softcap = getattr(config, "final_logit_softcapping", None)
    given = [float(getattr(config, name)) for name in _SCALES if isinstance(getattr(config, name, None), (int, float))]
    scales = [1.0, *(scale for value in given if value for scale in (value, 1.0 / value))]
    return [HeadScaling(scale, cap) for cap in dict.fromkeys((softcap or None, None)) for scale in scales]


def check_packing(model: Any, name: str) -> None:
    """Check that sequences which share a row have the same states as alone.

    Raises:
        ConfigError: they do not, for instance in recurrent models.
    """
    ids = _some_tokens(model, head_of(model, HeadScaling()), 7)
    segments = torch.tensor([[1, 1, 1, 2, 2, 2, 2]], device=ids.device)
    with _calmly(model):
        try:
            packed = hidden_states(model, ids, segments)
            holds = _near(model, packed[:, :3], hidden_states(model, ids[:, :3])) and _near(
                model, packed[:, 3:], hidden_states(model, ids[:, 3:])
            )
        except (RuntimeError, TypeError, ValueError, IndexError, AttributeError):
            # Architectures without support for such a mask fail in many ways.
            holds = False
    if not holds:
        raise ConfigError(
            f"The batch has several sequences in a row, but {name!r} ({type(model).__name__}) would let them see each "
            "other; give it batches with one sequence a row (packed=False)."
        )


def checkpoint_gradients(model: Any, name: str) -> None:
    """Have transformers compute the blocks of a model again in the backward pass.

    Raises:
        ConfigError: it cannot.
    """
    # Its name since transformers 5.
    new = getattr(model, "activation_checkpointing_enable", None)
    try:
        (new or model.gradient_checkpointing_enable)({"use_reentrant": False})
    except ValueError as error:
        raise ConfigError(
            f"gradient_checkpointing is on, but {name!r} ({type(model).__name__}) does not have it; leave it out."
        ) from error


def save_model(model: Any, directory: Path) -> None:
    """Save a model for `from_pretrained`, with adapters merged into the weights."""
    with _quiet():
        model.save_pretrained(directory, state_dict=_merged(model))


def _merged(model: Any) -> dict[str, Tensor]:
    """The weights with adapters merged in; the model itself is not changed, to the bit."""
    state = {name: tensor for name, tensor in model.state_dict().items() if ".lora_" not in name}
    for name, part in model.named_modules():
        if hasattr(part, "get_delta_weight"):
            key = f"{name}.base_layer.weight"
            delta = sum(part.get_delta_weight(adapter) for adapter in part.active_adapters)
            state[key] = (state[key] + delta).detach().to(state[key].dtype)
    return {name.replace(".base_layer.", "."): tensor for name, tensor in state.items()}
