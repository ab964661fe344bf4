"""Llamas of transformers, computed by `didact.learners.decoder`: the same weights and scores, in less time."""

from typing import Any, Self

import torch

from didact.errors import ConfigError
from didact.learners.decoder import DecoderConfig, Llama, rotary_frequencies

_TRIED = 8
"""The number of tokens on which both implementations are compared."""


class HubLlama(Llama):
    """A Llama from transformers, which shares its tensors.

    Args:
        model: a `LlamaForCausalLM` that `convert` accepts; do not use it afterwards.
        config: its shape.
    """

    def __init__(self, model: Any, config: DecoderConfig) -> None:
        with torch.device("meta"):
            super().__init__(config)
        self.kind, self.settings, self.generation = type(model), model.config, model.generation_config
        weights = {name: tensor for name, tensor in model.state_dict().items() if name in self.state_dict()}
        self.load_state_dict(weights, assign=True)
        # The embedding of padding is never updated, as in transformers.
        self.model.embed_tokens.padding_idx = model.model.embed_tokens.padding_idx
        self.train(model.training)

    @classmethod
    def convert(cls, model: Any) -> Self | None:
        """Convert a model of transformers if the result has the same outputs; None otherwise.

        Args:
            model: of `AutoModelForCausalLM`, on the CPU.
        """
        config = _shape(model)
        if config is None:
            return None
        ours = cls(model, config)
        ids = torch.arange(min(_TRIED, config.context))[None] % config.vocabulary
        with torch.no_grad():
            found, wanted = ours.head(ours(ids)), model.eval()(input_ids=ids, use_cache=False).logits
        near = 1e-4 if wanted.dtype.itemsize >= 4 else 3e-2
        return ours if bool((found - wanted).abs().max() <= near * wanted.abs().max()) else None

    def original(self) -> Any:
        """The model of transformers, with the same tensors and its original settings."""
        with torch.device("meta"):
            model = self.kind(self.settings)
        weights = self.state_dict()
        model.load_state_dict({"lm_head.weight": self.head.weight.detach(), **weights}, assign=True)
        model.tie_weights()
        model.generation_config = self.generation
        return model


def _shape(model: Any) -> DecoderConfig | None:
    """The shape of a model with the computation of a `Llama`, or None."""
    config = model.config
    if type(model).__name__ != "LlamaForCausalLM" or not _is_plain(config):
        return None
    turns = model.model.rotary_emb
    theta = _theta(config)
    try:
        shape = DecoderConfig(
            vocabulary=config.vocab_size,
            layers=config.num_hidden_layers,
            width=config.hidden_size,
            heads=config.num_attention_heads,
            kv_heads=config.num_key_value_heads,
            mlp_width=config.intermediate_size,
            context=config.max_position_embeddings,
            tied=config.tie_word_embeddings,
            rope_theta=theta,
            norm_eps=config.rms_norm_eps,
        )
    except ConfigError:
        return None
    wanted = rotary_frequencies(shape.head_size, theta)
    plain = (
        getattr(turns, "rope_type", None) == "default"
        and getattr(turns, "attention_scaling", 1.0) == 1.0
        and turns.inv_freq.shape == wanted.shape
        and torch.allclose(turns.inv_freq.float(), wanted, rtol=1e-5, atol=0.0)
    )
    with torch.device("meta"):
        names = set(Llama(shape).state_dict()) | {"lm_head.weight"}
    return shape if plain and set(model.state_dict()) | {"lm_head.weight"} == names else None


def _theta(config: Any) -> float:
    """The base of the wavelengths, wherever the installed version of transformers stores it."""
    kept = getattr(config, "rope_parameters", None) or {}
    return float(kept.get("rope_theta", getattr(config, "rope_theta", 10000.0)))


def _is_plain(config: Any) -> bool:
    """Whether a configuration needs nothing that a `Llama` lacks; biases and scaled positions are checked elsewhere."""
    return (
        config.hidden_act == "silu"
        and not config.attention_dropout
        and getattr(config, "pretraining_tp", 1) == 1
        and getattr(config, "quantization_config", None) is None
        and (getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
        * config.num_attention_heads
        == config.hidden_size
    )
