"""Causal language models as learners: the built-in decoder and those of Hugging Face, with their tokenizers."""

import json
from pathlib import Path

import torch
from torch import Tensor, nn

from didact import files
from didact.documents import Document
from didact.errors import ConfigError, DataError, nearest
from didact.learners import foreign, hub_causal
from didact.learners.adapters import (
    CONFIG,
    Adapters,
    add_adapters,
    describe_adapters,
    merge_adapters,
    save_adapters,
)
from didact.learners.decoder import Decoder, Llama, load_decoder, save_decoder
from didact.learners.hub_llama import HubLlama
from didact.learners.module import HIDDEN, _Tap
from didact.learners.tokenizers import ByteTokens, HubTokens, NumberTokens, Tokens
from didact.types import Batch, Head, TokenOutput
from didact.types.frozen import mark_frozen

GGUF = ".gguf"
"""The suffix of GGUF files."""
_FACTS, _GENERATION = "didact.json", "generation_config.json"
_OWN_TOKENS = {"bytes": ByteTokens, "numbers": NumberTokens}
"""Tokenizers that transformers does not have, by their name in `didact.json`."""

_JOINED = ("q_proj", "k_proj", "v_proj")
"""Submodules whose products a `Llama` computes at once, so that none of them has an output of its own."""


class CausalLearner(nn.Module):
    """A causal language model with its tokenizer.

    Args:
        module: a `Llama` such as the built-in `Decoder`, or a model of `AutoModelForCausalLM`.
        tokenizer: the tokenizer of its ids.
        config: the spec that it was built from, for messages and records.

    Raises:
        ConfigError: the tokenizer has more ids than the head; or the head is more than a linear layer with bias, scale
            and soft-capping, which is checked on two tokens.
    """

    def __init__(self, module: nn.Module, tokenizer: Tokens, *, config: str = "") -> None:
        super().__init__()
        self.module = module
        self.tokenizer = tokenizer
        self.config = config or type(module).__name__
        self.taps: tuple[str, ...] = ()
        self.adapters: Adapters | None = None
        """The options of its adapters."""
        self.base = ""
        """Where the frozen model of its adapters was read from."""
        self._store: dict[str, Tensor] = {}
        self._packs = isinstance(module, Llama)
        self._scaling = hub_causal.HeadScaling() if self._packs else hub_causal.find_head_scaling(module, self.config)
        if tokenizer.vocabulary > self.head.vocabulary:
            raise ConfigError(
                f"The tokenizer of {self.config!r} has {tokenizer.vocabulary} ids, but the model scores only "
                f"{self.head.vocabulary}. Give the tokenizer that belongs to the model, or resize the model's "
                "embedding with resize_token_embeddings and save it again."
            )
        self.train(module.training)

    @property
    def head(self) -> Head:
        """The head, which maps hidden states to scores of the next token; it shares the model's weights."""
        if isinstance(self.module, Llama):
            return self.module.head
        return hub_causal.head_of(self.module, self._scaling)

    @property
    def context(self) -> int:
        """The longest sequence, in tokens; a million for a model without a limit."""
        return self.module.config.context if isinstance(self.module, Llama) else hub_causal.context_of(self.module)

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.module.parameters()).device

    def checkpoint_gradients(self) -> None:
        """From now on, keep only the inputs of blocks for the backward pass, which computes the rest again.

        Gradients are the same; this takes about a third more time, in training mode only.

        Raises:
            ConfigError: a model of transformers without this.
        """
        if isinstance(self.module, Llama):
            self.module.model.checkpointing = True
        else:
            hub_causal.checkpoint_gradients(self.module, self.config)

    def candidates(self) -> list[str]:
        """The names that can be tapped: `hidden`, and the submodules before the head."""
        head = _name_of_head(self.module)
        joined = _JOINED if isinstance(self.module, Llama) else ()
        names = (name for name, _ in self.module.named_modules() if name and name != head)
        return [HIDDEN, *(name for name in names if not name.endswith(joined))]

    def tap(self, *names: str) -> None:
        """From now on, put the outputs of these submodules into `TokenOutput.features`.

        Raises:
            ConfigError: there is no such submodule.
        """
        known = self.candidates()
        for name in names:
            if name not in known:
                raise ConfigError(f"tap is {name!r}, which the model does not have. {nearest(name, known)}")
            if name not in self.taps:
                if name != HIDDEN:
                    self.module.get_submodule(name).register_forward_hook(_Tap(self._store, name))
                self.taps = (*self.taps, name)

    def forward(self, batch: Batch) -> TokenOutput:
        """Compute the hidden states of a batch, with the head that scores them.

        Args:
            batch: with `input_ids` and `attention_mask` int64 [B, T], padded on the right, and `segments` where
                sequences share a row, which do not attend to each other.

        Raises:
            DataError: rows longer than the context; padding on the left (checked on the CPU only, where it is free).
            ConfigError: `segments`, for a model that can't keep sequences apart.
        """
        ids = batch["input_ids"]
        if "attention_mask" in batch:
            self._check_side(batch["attention_mask"])
        self._check_length(ids.shape[1])
        # Not batch.get, which would let DataError through.
        hidden = self._states(ids, batch["segments"] if "segments" in batch else None)  # noqa: SIM401
        features = {name: hidden if name == HIDDEN else self._store.pop(name) for name in self.taps}
        self._store.clear()
        return TokenOutput(hidden, self.head, features)

    def _check_length(self, length: int) -> None:
        if length > self.context:
            raise DataError(
                f"The batch's rows have {length} tokens, but the context of {self.config!r} is {self.context}; lower "
                "max_length."
            )

    def _check_side(self, mask: Tensor) -> None:
        if mask.device.type == "cpu" and bool((mask[:, 0] < mask.amax(dim=1)).any()):
            raise DataError("The batch is padded on the left; causal language models here take padding on the right.")

    def _states(self, ids: Tensor, segments: Tensor | None) -> Tensor:
        if isinstance(self.module, Llama):
            return self.module(ids, segments=segments)
        if segments is not None and not self._packs:
            hub_causal.check_packing(self.module, self.config)
            self._packs = True
        return hub_causal.hidden_states(self.module, ids, segments)


def load_causal(name: str, dtype: torch.dtype | None = None) -> CausalLearner:
    """Load a causal language model as it is.

    Args:
        name: a directory, a name on the Hugging Face hub, or a file of GGUF, whose weights are dequantised. A directory
            that `save_causal` wrote from a decoder becomes a `Decoder` again, and a Llama that `Llama` computes just as
            transformers does, a `HubLlama`.
        dtype: of the weights; None for the stored one, see `didact.learners.hub_causal.load_model`.

    Returns:
        The model on the CPU, in evaluation mode.

    Raises:
        ConfigError: a model that can't be used; the message says why.
        MissingExtraError: transformers or gguf is needed and not installed.
    """
    if _facts(name).get("model") == "decoder":
        with foreign.check_model(name):
            foreign.check_weights(name)
            module: nn.Module = load_decoder(Path(name), dtype).eval()
        return CausalLearner(module, _tokenizer(name, ()), config=f"hf:{name}")
    loaded, tokenizer = _of_hub(name, dtype)
    return CausalLearner(HubLlama.convert(loaded) or loaded, tokenizer, config=_spec(name))


def load_with_adapters(
    name: str, adapters: Adapters, *, seed: int = 0, dtype: torch.dtype | None = None, config: str = ""
) -> CausalLearner:
    """Load a causal language model, and add adapters; only these are trained and stored in checkpoints.

    Args:
        name: a directory, a name on the Hugging Face hub, or a file of GGUF.
        adapters: their options.
        seed: the only source of the adapters' first weights.
        dtype: of the frozen weights; None for the stored one.
        config: the spec that it was built from, for messages and records.

    Raises:
        ConfigError: a model that can't be used; the message says why.
        MissingExtraError: transformers, gguf or peft is needed and not installed.
    """
    loaded, tokenizer = _of_hub(name, dtype, bits=adapters.bits)
    model = add_adapters(loaded, adapters, seed=seed)
    mark_frozen(model)
    learner = CausalLearner(model, tokenizer, config=config or f"lora:{adapters.rank}:{_spec(name)}")
    learner.adapters, learner.base = adapters, name
    return learner


def _of_hub(name: str, dtype: torch.dtype | None, *, bits: int | None = None) -> tuple[nn.Module, Tokens]:
    """A model of transformers with its tokenizer, which knows the ends of the generation config.

    Adapters that `save_causal` wrote are merged into their base.
    """
    if is_adapted(name):
        return _merged(Path(name), dtype, bits)
    if not _is_gguf(name):
        loaded = hub_causal.load_model(name, dtype, bits=bits)
        return loaded, _tokenizer(name, hub_causal.generation_ends(loaded))
    loaded = hub_causal.load_gguf(Path(name), dtype)
    return loaded, HubTokens(name, ends=hub_causal.generation_ends(loaded))


def is_adapted(name: str | Path) -> bool:
    """Whether a directory holds adapters that `save_causal` wrote."""
    return (Path(name) / CONFIG).is_file() and "base" in _facts(str(name))


def is_saved(directory: Path) -> bool:
    """Whether a directory holds a causal language model, whole or as adapters."""
    return (directory / "config.json").is_file() or is_adapted(directory)


def _merged(directory: Path, dtype: torch.dtype | None, bits: int | None) -> tuple[nn.Module, Tokens]:
    """The base of saved adapters, with them merged; a base of the hub comes from its cache, not from the network."""
    files.check_directory(directory)
    told = _facts(str(directory))
    base = str(told["base"])
    if is_adapted(base):
        raise ConfigError(f"{directory} holds adapters for {base!r}, which holds adapters itself; merge those first.")
    with foreign.offline():
        loaded, tokenizer = _of_hub(base, dtype, bits=bits)
    merge_adapters(loaded, directory, told)
    return loaded, tokenizer


def _is_gguf(name: str) -> bool:
    return name.endswith(GGUF) and Path(name).is_file()


def _spec(name: str) -> str:
    return f"{'gguf' if _is_gguf(name) else 'hf'}:{name}"


def _tokenizer(name: str, ends: tuple[int, ...]) -> Tokens:
    own = _OWN_TOKENS.get(str(_facts(name).get("tokenizer", "")))
    return HubTokens(name, ends=ends) if own is None else own()


def _facts(name: str) -> Document:
    """The facts that `save_causal` wrote beside a model; empty for a model from elsewhere."""
    path = Path(name) / _FACTS
    return foreign.read_json(path) if path.is_file() else {}


def save_causal(learner: CausalLearner, directory: str | Path, *, merge: bool = True) -> Path:
    """Save a model to a directory that `AutoModelForCausalLM.from_pretrained` and `load_causal` can load.

    A `Decoder` is written as a Llama. Adapters are merged into the saved weights; the learner itself keeps them. A
    tokenizer of bytes or numbers, which transformers does not have, is recorded in `didact.json`. The directory appears
    only when it is complete; an existing one is replaced.

    Args:
        learner: the model; it is not changed.
        directory: the destination; parents are created.
        merge: False writes adapters alone, as PEFT does, if the model that they belong to was read from somewhere.

    Returns:
        The directory.

    Raises:
        ConfigError: the destination exists and is not a saved model.
        OSError: it can't be written; an existing directory is untouched.
    """
    path = Path(directory)
    if path.exists() and not (path.is_dir() and (is_saved(path) or not any(path.iterdir()))):
        raise ConfigError(f"{str(path)!r} is there already and holds no model; give another directory.")
    with files.whole_directory(path) as partial:
        _write(learner, partial, merge)
    return path


def _write(learner: CausalLearner, directory: Path, merge: bool) -> None:
    module, tokenizer = learner.module, learner.tokenizer
    alone = learner.adapters if learner.base and not merge and not is_adapted(learner.base) else None
    base = str(Path(learner.base).resolve()) if Path(learner.base).exists() else learner.base
    if alone is not None:
        save_adapters(module, alone, base, directory)
    elif isinstance(module, Decoder):
        save_decoder(module, directory, bos=tokenizer.bos, eos=tokenizer.eos, pad=tokenizer.pad)
    else:
        hub_causal.save_model(module.original() if isinstance(module, HubLlama) else module, directory)
    facts: Document = {"model": "decoder"} if isinstance(module, Decoder) else {}
    if alone is not None:
        facts = describe_adapters(alone, base)
    if isinstance(tokenizer, HubTokens):
        tokenizer.save(directory)
    else:
        facts["tokenizer"] = next(word for word, kind in _OWN_TOKENS.items() if type(tokenizer) is kind)
    _note_ends(tokenizer, directory)
    if facts:
        (directory / _FACTS).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _note_ends(tokenizer: Tokens, directory: Path) -> None:
    """Write all ends to `generation_config.json`, so that `generate` stops where didact does."""
    path = directory / _GENERATION
    settings = foreign.read_json(path) if path.is_file() else {}
    noted = settings.get("eos_token_id", tokenizer.eos)
    if {*(noted if isinstance(noted, list) else [noted])} != tokenizer.ends:
        ends = [tokenizer.eos, *sorted(tokenizer.ends - {tokenizer.eos})]
        settings["eos_token_id"] = ends[0] if len(ends) == 1 else ends
        path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def check_length(learner: CausalLearner, tokens: int, *, new: int = 0, what: str = "The longest prompt") -> None:
    """Refuse sequences that exceed a model's context, before anything is computed.

    Args:
        learner: the model.
        tokens: the number of tokens.
        new: the number of tokens to be generated after them.
        what: the subject of the message.

    Raises:
        ConfigError: they exceed the context.
    """
    if tokens + new > learner.context:
        more = f" and {new} new ones" if new else ""
        raise ConfigError(
            f"{what} has {tokens} tokens{more}, but the context of {learner.config!r} is {learner.context}; "
            f"at most {max(0, learner.context - new)} would work."
        )


def describe_causal(learner: CausalLearner) -> Document:
    """Describe a model for people, before it is trained; ready for JSON.

    Returns:
        `architecture`, the numbers of `parameters` and of those that are `trained`, `bytes` of the weights, `dtype`,
        `context`, `tokenizer_vocabulary` and `head_vocabulary`, the ids `eos`, `pad` and `bos` (or None), `ends` (the
        ids that end a completion), `chat_template` (bool), `scale` and `softcap` (or None) of the scores, and whether
        the head has a `bias`.
    """
    parameters, tokenizer, head = list(learner.module.parameters()), learner.tokenizer, learner.head
    return {
        "architecture": type(learner.module).__name__,
        "parameters": sum(p.numel() for p in parameters),
        "trained": sum(p.numel() for p in parameters if p.requires_grad),
        "bytes": sum(p.numel() * p.element_size() for p in parameters),
        "dtype": str(head.weight.dtype).removeprefix("torch."),
        "context": learner.context,
        "tokenizer_vocabulary": tokenizer.vocabulary,
        "head_vocabulary": head.vocabulary,
        "eos": tokenizer.eos,
        "ends": sorted(tokenizer.ends),
        "pad": tokenizer.pad,
        "bos": tokenizer.bos,
        "chat_template": tokenizer.chat_template,
        "scale": head.scale,
        "softcap": head.softcap,
        "bias": head.bias is not None,
    }


def _name_of_head(module: nn.Module) -> str:
    last = getattr(module, "get_output_embeddings", lambda: getattr(module, "lm_head", None))()
    return next((name for name, part in module.named_modules() if part is last), "")
