"""Encoders of Hugging Face and of sentence-transformers: models without a classifier, from inputs to embeddings."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from didact import files
from didact.documents import Document
from didact.errors import ConfigError
from didact.learners import foreign, huggingface
from didact.learners.module import ModuleLearner
from didact.learners.preprocess import ImagePreprocess

_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len",
    "pooling_mode_lasttoken": "lasttoken",
}
"""The modes of `1_Pooling/config.json` in the order in which sentence-transformers concatenates them."""
_ACTIVATIONS = {"Tanh": nn.Tanh, "Identity": nn.Identity, "GELU": nn.GELU, "ReLU": nn.ReLU}
_LAYERS = ("Transformer", "Pooling", "Dense", "Normalize")
_KINDS = {"text": ("input_ids", "attention_mask"), "image": ("x",)}


@dataclass(frozen=True)
class Recipe:
    """What follows the model of an encoder, as sentence-transformers' `modules.json` says."""

    model: str
    """The directory or name of the model itself."""
    modes: tuple[str, ...] = ("mean",)
    """How token vectors become one, concatenated where there are several."""
    dense: tuple[Path, ...] = field(default=())
    """The directories of layers behind that."""
    normalised: bool = False
    """Whether the result has length 1."""


class Pooling(nn.Module):
    """Token vectors [B, T, D] as one vector [B, D · modes], by the modes of sentence-transformers."""

    def __init__(self, modes: tuple[str, ...]) -> None:
        super().__init__()
        self.modes = modes

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Tokens [B, T, D] and their mask int64 [B, T], to float [B, D · modes]."""
        weight = mask.to(tokens.dtype).unsqueeze(-1)
        return torch.cat([self._pool(mode, tokens, mask, weight) for mode in self.modes], dim=-1)

    def _pool(self, mode: str, tokens: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
        if mode == "cls":
            return tokens[:, 0]
        if mode == "max":
            return tokens.masked_fill(weight == 0, -torch.inf).amax(1)
        if mode == "lasttoken":
            # Also where padding comes first.
            last = (mask * torch.arange(1, mask.shape[1] + 1, device=mask.device)).argmax(1)
            return tokens.gather(1, last[:, None, None].expand(-1, 1, tokens.shape[2]))[:, 0]
        count = weight.sum(1).clamp(min=1e-9)
        return (tokens * weight).sum(1) / (count if mode == "mean" else count.sqrt())


class Encoder(nn.Module):
    """A model, pooling, and what follows.

    Args:
        model: of transformers' `AutoModel`.
        modality: `text` or `image`.
        tail: layers from a pooled vector to the embedding.
        modes: see `Recipe`; of images, the first token or the mean over places is taken.
        normalised: see `Recipe`.
        preprocess: of images, the processor in front.
        source: the directory or name of the model, which has its tokenizer.
    """

    def __init__(
        self,
        model: nn.Module,
        modality: str,
        tail: nn.Sequential,
        *,
        modes: tuple[str, ...] = ("mean",),
        normalised: bool = False,
        preprocess: nn.Module | None = None,
        source: str = "",
    ) -> None:
        super().__init__()
        self.model, self.pooling, self.tail = model, Pooling(modes), tail
        self.preprocess, self.normalised, self.modality = preprocess or nn.Identity(), normalised, modality
        self.source = source

    def forward(
        self, x: Tensor | None = None, input_ids: Tensor | None = None, attention_mask: Tensor | None = None
    ) -> Tensor:
        """Images [B, channels, H, W] in [0, 1], or token ids int64 [B, T] twice, to embeddings [B, D]."""
        if self.modality == "text":
            assert attention_mask is not None
            tokens = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            pooled = self.pooling(tokens, attention_mask)
        else:
            found = self.model(pixel_values=self.preprocess(x)).last_hidden_state
            pooled = found[:, 0] if found.ndim == 3 else found.flatten(2).mean(2)
        embedding = self.tail(pooled)
        return F.normalize(embedding, dim=-1) if self.normalised else embedding


def read_recipe(name: str) -> Recipe:
    """What an encoder consists of: by `modules.json`, or, without one, the mean of the tokens.

    Args:
        name: directory, or name on the hub.

    Raises:
        ConfigError: it has a layer or a pooling that is not known.
    """
    found = _file(name, "modules.json")
    if found is None:
        return Recipe(name)
    layers = huggingface.read_list(found)
    recipe: dict[str, Any] = {"model": name, "dense": ()}
    for layer in layers:
        kind, place = str(layer.get("type", "")).rpartition(".")[2], str(layer.get("path", ""))
        if kind not in _LAYERS or Path(place).is_absolute() or ".." in Path(place).parts:
            raise ConfigError(
                f"{name!r} is an encoder with the layer {kind!r:.60} in {place!r:.60}; didact knows "
                f"{', '.join(_LAYERS)}. Save it with these alone."
            )
        if kind == "Transformer" and place:
            recipe["model"] = str(found.parent / place)
        elif kind == "Pooling":
            recipe["modes"] = _modes(name, _settings(name, place))
        elif kind == "Dense":
            recipe["dense"] = (*recipe["dense"], _held(name, place))
        recipe["normalised"] = recipe.get("normalised", False) or kind == "Normalize"
    return Recipe(**recipe)


def width_of(name: str) -> int:
    """How many numbers an encoder's embeddings have, by its files alone."""
    recipe = read_recipe(name)
    if recipe.dense:
        return int(foreign.read_json(recipe.dense[-1] / "config.json").get("out_features", 0))
    config = huggingface.config_of(recipe.model)
    sizes = getattr(config, "hidden_sizes", None) or [getattr(config, "hidden_size", 0)]
    return sizes[-1] if hasattr(config, "num_channels") else sizes[-1] * len(recipe.modes)


def tokenizer_of(name: str, max_length: int) -> huggingface.Tokenizer:
    """The tokenizer of an encoder of texts, which cuts them as `sentence_bert_config.json` says, too."""
    found = _file(name, "sentence_bert_config.json")
    longest = foreign.read_json(found).get("max_seq_length") if found is not None else None
    if isinstance(longest, int) and longest > 0:
        max_length = min(max_length, longest)
    return huggingface.tokenizer_of(read_recipe(name).model, max_length=max_length)


def load_encoder(name: str, modality: str, *, width: int | None = None) -> ModuleLearner:
    """Load an encoder with its weights.

    Args:
        name: directory, or name on the hub; weights must be safetensors.
        modality: of the data: `text` or `image`.
        width: of the embeddings that are wanted; another one gets a linear layer, whose initial weights are drawn from
            torch's global generator. None keeps that of the encoder.

    Returns:
        A learner whose logits are embeddings [B, D], on the CPU, in float32.

    Raises:
        ConfigError: it is missing, pickled, no encoder of such data, or lacks weights.
    """
    if modality not in _KINDS:
        raise ConfigError(f"{name!r} is a Hugging Face model, but the data are a {modality}; it needs text or images.")
    recipe = read_recipe(name)
    model = huggingface.load_model(recipe.model)
    pooler = getattr(model, "pooler", None)
    if pooler is not None and next(pooler.parameters(), None) is not None:
        # It is not used, and would be counted, trained and saved.
        model.pooler = None
    layers = [_dense(place) for place in recipe.dense]
    own = width_of(name)
    if width is not None and width != own:
        layers.append(nn.Linear(own, width))
    processor = None
    if modality == "image":
        settings = huggingface.processor_of(recipe.model)
        processor = ImagePreprocess(settings, int(getattr(model.config, "num_channels", 3)))
    normalised = recipe.normalised and width in (None, own)
    tail = nn.Sequential(*layers)
    net = Encoder(
        model, modality, tail, modes=recipe.modes, normalised=normalised, preprocess=processor, source=recipe.model
    )
    return ModuleLearner(net, inputs=_KINDS[modality], head=None)


def save_encoder(encoder: Encoder, path: Path) -> None:
    """Write an encoder of texts into a directory as sentence-transformers does, with its tokenizer.

    Args:
        encoder: from `ModuleLearner.module`.
        path: a directory that is there.

    Raises:
        ConfigError: it is of images, or its tokenizer is no longer where the model came from.
    """
    if encoder.modality != "text":
        raise ConfigError("to is 'hf', but the learner is an encoder of images; 'safetensors' and 'onnx' would work.")
    huggingface.save_model(encoder.model, encoder.source, path)
    layers = [("", "Transformer"), ("1_Pooling", "Pooling")]
    pooling = {key: mode in encoder.pooling.modes for key, mode in _MODES.items()}
    size = int(getattr(encoder.model.config, "hidden_size", 0))
    _write(path / "1_Pooling", {"word_embedding_dimension": size, **pooling})
    for layer in encoder.tail:
        linear, activation = layer if isinstance(layer, nn.Sequential) else (layer, nn.Identity())
        assert isinstance(linear, nn.Linear)
        name = f"{len(layers)}_Dense"
        kind = type(activation)
        settings = {"in_features": linear.in_features, "out_features": linear.out_features}
        settings |= {"bias": linear.bias is not None, "activation_function": f"{kind.__module__}.{kind.__name__}"}
        _write(path / name, settings)
        weights = {f"linear.{key}": tensor for key, tensor in linear.state_dict().items()}
        files.write_tensors(path / name / "model.safetensors", weights, {})
        layers.append((name, "Dense"))
    if encoder.normalised:
        layers.append((f"{len(layers)}_Normalize", "Normalize"))
    described = [
        {"idx": place, "name": str(place), "path": folder, "type": f"sentence_transformers.models.{kind}"}
        for place, (folder, kind) in enumerate(layers)
    ]
    (path / "modules.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")


def _write(folder: Path, settings: Document) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _modes(name: str, settings: Document) -> tuple[str, ...]:
    """The modes of a pooling that are switched on."""
    named = settings.get("pooling_mode")
    if isinstance(named, str):
        settings = {f"pooling_mode_{named}": True, f"pooling_mode_{named}_tokens": True}
        settings = {key: True for key in settings if key in _MODES} or {f"pooling_mode_{named}": True}
    on = {key for key, value in settings.items() if key.startswith("pooling_mode_") and value is True}
    if not on or on - set(_MODES):
        raise ConfigError(
            f"{name!r} pools tokens by {', '.join(sorted(on - set(_MODES))) or 'nothing'}; didact knows "
            f"{', '.join(_MODES.values())}."
        )
    return tuple(mode for key, mode in _MODES.items() if key in on)


def _settings(name: str, place: str) -> Document:
    return foreign.read_json(_held(name, place) / "config.json")


def _held(name: str, place: str) -> Path:
    """The directory of a layer."""
    found = _file(name, f"{place}/config.json")
    if found is None:
        raise ConfigError(f"{name!r} names a layer in {place!r}, which has no config.json; save the encoder again.")
    return found.parent


def _file(name: str, file: str) -> Path | None:
    """A file of an encoder, where it has one."""
    if Path(name).is_dir():
        found = Path(name) / file
        return found if found.is_file() else None
    return huggingface.hub_file(name, file)


def _dense(place: Path) -> nn.Module:
    """A layer of sentence-transformers: linear, then an activation."""
    from safetensors.torch import load_file

    settings, weights = foreign.read_json(place / "config.json"), place / "model.safetensors"
    named = str(settings.get("activation_function", "Identity")).rpartition(".")[2]
    if named not in _ACTIVATIONS or not weights.is_file():
        raise ConfigError(
            f"{place} is a layer with the activation {named!r:.60} and weights in "
            f"{', '.join(sorted(file.name for file in place.glob('*')))[:200]}; didact knows "
            f"{', '.join(_ACTIVATIONS)}, and model.safetensors."
        )
    found = {key.removeprefix("linear."): tensor.float() for key, tensor in load_file(weights).items()}
    if found.get("weight", torch.zeros(0)).ndim != 2 or not set(found) <= {"weight", "bias"}:
        raise ConfigError(f"{weights} holds {', '.join(found)[:100]}, where a weight and a bias belong.")
    linear = nn.Linear(*reversed(found["weight"].shape), bias="bias" in found)
    linear.load_state_dict(found)
    return nn.Sequential(linear, _ACTIVATIONS[named]())
