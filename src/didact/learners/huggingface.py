"""Hugging Face classification models for text and images, as learners and as teachers.

Nothing is unpickled and no code that comes with a model is run: weights are read from safetensors alone.
"""

import contextlib
import copy
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from didact.documents import Document, parse_json
from didact.errors import ConfigError, DidactError, MissingExtraError, check_range
from didact.learners import foreign
from didact.learners.module import ModuleLearner
from didact.learners.preprocess import ImagePreprocess
from didact.types import Examples

_INPUTS = {"text": ("input_ids", "attention_mask"), "image": ("x",)}


@dataclass(frozen=True)
class Pretrained:
    """A pretrained classifier with its class names and tokenizer."""

    learner: ModuleLearner
    classes: tuple[str, ...]
    """Its own class names, in the order of its outputs; empty where it has only numbers, or for regression."""
    tokenizer: "Tokenizer | None"
    """For text, its own tokenizer."""


class TextClassifier(nn.Module):
    """A Hugging Face model for sequence classification, from tensors to logits.

    Args:
        model: of `AutoModelForSequenceClassification`.
        source: its directory or hub name, which also has its tokenizer.
    """

    def __init__(self, model: nn.Module, source: str) -> None:
        super().__init__()
        self.model, self.source = model, source

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """int64 [B, T] twice, to logits [B, C]."""
        return self.model(input_ids=input_ids, attention_mask=attention_mask).logits


class ImageClassifier(nn.Module):
    """A Hugging Face model for image classification, with its image processor in front.

    Args:
        model: of `AutoModelForImageClassification`.
        processor: the contents of the model's `preprocessor_config.json`.
        source: its directory or hub name.
    """

    def __init__(self, model: nn.Module, processor: Document, source: str) -> None:
        super().__init__()
        self.model, self.processor, self.source = model, processor, source
        channels = int(getattr(model.config, "num_channels", None) or len(processor.get("image_mean") or "RGB"))
        self.preprocess = ImagePreprocess(processor, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Images [B, channels, H, W] in [0, 1], of any size, to logits [B, C]."""
        return self.model(pixel_values=self.preprocess(x)).logits


class Tokenizer:
    """A Hugging Face tokenizer, as `sources.load` takes one.

    Args:
        name: directory or hub name.
        max_length: the longest sequence, in tokens; longer texts are cut. Lowered to what the model can take.
        multiple: lengths are padded up to a multiple of this, where `max_length` is one.

    Raises:
        ConfigError: there is no tokenizer, or it has no padding token.
        MissingExtraError: transformers is not installed.
    """

    def __init__(self, name: str, *, max_length: int = 128, multiple: int = 8) -> None:
        check_range("max_length", max_length, at_least=1)
        transformers = _transformers()
        self.name = name
        with _explained(name, "tokenizer"):
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        if self.tokenizer.pad_token is None:
            if self.tokenizer.eos_token is None:
                raise ConfigError(
                    f"The tokenizer of {name!r} has neither a padding nor an end token; give it a pad_token."
                )
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.max_length = min(max_length, _longest(name, self.tokenizer))
        self.multiple = multiple if self.max_length % multiple == 0 else None

    @property
    def vocabulary(self) -> int:
        """The number of token ids."""
        return len(self.tokenizer)

    def __len__(self) -> int:
        """The size of the vocabulary."""
        return self.vocabulary

    def __call__(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Encode texts.

        Args:
            texts: N strings.

        Returns:
            `input_ids` and `attention_mask` (1 where there is a token), int64 [N, T], where T is the longest of these,
            padded up to a multiple.
        """
        encoded = self.tokenizer(
            list(texts),
            truncation=True,
            max_length=self.max_length,
            padding=True,
            pad_to_multiple_of=self.multiple,
            return_tensors="pt",
        )
        return {name: encoded[name] for name in _INPUTS["text"]}

    def write(self, path: Path, length: int) -> None:
        """Write it as a file of the `tokenizers` package that cuts and pads each text to `length` tokens.

        Raises:
            ConfigError: it has no such form.
        """
        if not self.tokenizer.is_fast:
            raise ConfigError(
                f"The tokenizer of {self.name!r} has no tokenizer.json, so that it can't lie beside an ONNX graph; "
                "'hf' would work."
            )
        inner = copy.deepcopy(self.tokenizer.backend_tokenizer)
        inner.enable_truncation(self.max_length)
        inner.enable_padding(
            length=length,
            direction=self.tokenizer.padding_side,
            pad_id=self.tokenizer.pad_token_id,
            pad_token=self.tokenizer.pad_token,
        )
        inner.save(str(path))


def tokenizer_of(name: str, *, max_length: int = 128, multiple: int = 8) -> Tokenizer:
    """The tokenizer of a model; see `Tokenizer` for arguments and errors."""
    return Tokenizer(name, max_length=max_length, multiple=multiple)


def load_teacher(name: str, examples: Examples, *, max_length: int = 128) -> Pretrained:
    """Load a pretrained classifier unchanged.

    Args:
        name: directory or hub name; its weights must be safetensors.
        examples: the data that it will label: text, images, or a table, whose rows it will be shown as texts.
        max_length: for its tokenizer.

    Returns:
        The model in evaluation mode, with its own class names (to be aligned with the data's) and tokenizer.

    Raises:
        ConfigError: the model is missing, no classifier, pickled, or has no head for these data.
        MissingExtraError: transformers is not installed.
    """
    modality = "text" if examples.modality == "table" else examples.modality
    model, config = _load(name, modality, {})
    outputs = len(examples.classes) if examples.task == "classification" else 1
    if config.num_labels != outputs:
        raise ConfigError(
            f"The model {name!r} has {config.num_labels} outputs ({_shown(config)}), but the data need {outputs} "
            f"({', '.join(examples.classes) or 'a regression'}). Give a model that was fine-tuned on these."
        )
    tokenizer = tokenizer_of(name, max_length=max_length) if modality == "text" else None
    classes = _class_names(config) if examples.task == "classification" else ()
    return Pretrained(_learner(model, name, modality).eval(), classes, tokenizer)


def load_student(name: str, examples: Examples) -> ModuleLearner:
    """Load a model for training, with a head for the data's classes.

    The head is kept if it has the data's classes in their order, or as many without names; otherwise it is initialised
    from torch's global generator.

    Args:
        name: directory or hub name; its weights must be safetensors.
        examples: its training data: text (encoded with this model's tokenizer) or images.

    Returns:
        A learner on the CPU, in float32.

    Raises:
        ConfigError: the model is missing or pickled, or the text was encoded with another tokenizer.
        MissingExtraError: transformers is not installed.
    """
    config = _config(name)
    regression = examples.task == "regression"
    outputs = 1 if regression else len(examples.classes)
    own = _class_names(config)
    keep = config.num_labels == outputs and (regression or not own or own == examples.classes)
    names = {} if regression else {"id2label": dict(enumerate(examples.classes))}
    names |= {"label2id": {c: i for i, c in enumerate(examples.classes)}} if names else {}
    changes = {"num_labels": outputs, **names, "problem_type": "regression" if regression else None}
    model, config = _load(name, examples.modality, changes)
    if not keep:
        _draw_head(model, outputs, getattr(config, "initializer_range", 0.02))
    vocabulary = getattr(config, "vocab_size", None)
    if examples.modality == "text" and vocabulary is not None and examples.vocabulary > vocabulary:
        raise ConfigError(
            f"The data are encoded with a vocabulary of {examples.vocabulary} tokens, but {name!r} knows {vocabulary}; "
            "load the data with this model's own tokenizer."
        )
    return _learner(model, name, examples.modality)


def save(classifier: TextClassifier | ImageClassifier, destination: str | Path, classes: Sequence[str]) -> None:
    """Save a Hugging Face directory for `from_pretrained`: weights, label names, tokenizer or image processor.

    Args:
        classifier: from `ModuleLearner.module`.
        destination: a directory; created if missing.
        classes: names of the outputs; empty for a regression.

    Raises:
        ConfigError: the tokenizer is no longer where the model came from.
    """
    model: Any = classifier.model
    if classes:
        model.config.id2label = dict(enumerate(classes))
        model.config.label2id = {name: i for i, name in enumerate(classes)}
    with _quiet():
        model.save_pretrained(destination)
    if isinstance(classifier, TextClassifier):
        with _quiet():
            tokenizer_of(classifier.source).tokenizer.save_pretrained(destination)
    else:
        path = Path(destination) / "preprocessor_config.json"
        path.write_text(json.dumps(classifier.processor, indent=2) + "\n", encoding="utf-8")


def _learner(model: nn.Module, name: str, modality: str) -> ModuleLearner:
    module = TextClassifier(model, name) if modality == "text" else ImageClassifier(model, _processor(name), name)
    return ModuleLearner(module, inputs=_INPUTS[modality])


def _load(name: str, modality: str, changes: Document) -> tuple[Any, Any]:
    """The model in float32 and its configuration; a new head is allowed only if `changes` are given."""
    if modality not in _INPUTS:
        raise ConfigError(
            f"{name!r} is a Hugging Face model, but the data are a {modality}; it needs text or images. For a table, "
            "mlp:64,64 or transformer:2x64 would work."
        )
    foreign.check_weights(name)
    transformers = _transformers()
    auto = (
        transformers.AutoModelForSequenceClassification
        if modality == "text"
        else transformers.AutoModelForImageClassification
    )
    with _explained(name, "model"), _quiet():
        foreign.check_parameters(name, lambda: auto.from_config(_config(name), trust_remote_code=False))
        model, info = auto.from_pretrained(
            name,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=bool(changes),
            **changes,
        )
    missing = sorted(info["missing_keys"])
    if missing and not changes:
        raise ConfigError(
            f"The model {name!r} lacks weights of a classifier ({', '.join(missing[:3])}), so that it would predict at "
            "random; give a model that was fine-tuned for classification."
        )
    if modality == "text" and model.config.pad_token_id is None:
        model.config.pad_token_id = _padding_id(name)
    # Weights that were saved in half precision are trained in float32, like those of any other learner.
    return model.float(), model.config


def _draw_head(model: nn.Module, outputs: int, deviation: float) -> None:
    heads = [part for part in model.modules() if isinstance(part, nn.Linear) and part.out_features == outputs]
    if heads:
        nn.init.normal_(heads[-1].weight, std=deviation)
        if heads[-1].bias is not None:
            nn.init.zeros_(heads[-1].bias)


def _config(name: str) -> Any:
    with _explained(name, "model"):
        return _transformers().AutoConfig.from_pretrained(name, trust_remote_code=False)


def config_of(name: str) -> Any:
    """The configuration of a model; a `ConfigError` where there is none."""
    return _config(name)


def processor_of(name: str) -> Document:
    """The contents of the `preprocessor_config.json` of a model of images; a `ConfigError` where there is none."""
    return _processor(name)


def hub_file(name: str, file: str) -> Path | None:
    """A file of a model on the hub, which is fetched; None where the model has none of that name."""
    transformers = _transformers()
    with _explained(name, "model"):
        found = transformers.utils.cached_file(
            name, file, _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_gated_repo=True
        )
    return None if found is None else Path(found)


def read_list(path: Path) -> list[Document]:
    """A short JSON list of objects, such as sentence-transformers' `modules.json`.

    Raises:
        ConfigError: it is something else.
    """
    try:
        found = parse_json(path.read_bytes()[:100_000])
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}. Save the model again.") from None
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ConfigError(
            f"{path} holds {type(found).__name__}, where a list of objects belongs. Save the model again."
        )
    return found


def is_encoder(name: str) -> bool:
    """Whether a model was saved without a head, by the architectures that its configuration names."""
    if (Path(name) / "modules.json").is_file():
        return True
    named = [str(one) for one in getattr(_config(name), "architectures", None) or ()]
    return bool(named) and all(one.endswith("Model") and "LMHead" not in one for one in named)


def load_model(name: str) -> Any:
    """Load a model without a head, of any kind, in float32.

    Raises:
        ConfigError: it is missing, pickled, or lacks weights other than those of a pooler, which is not used.
    """
    foreign.check_weights(name)
    auto = _transformers().AutoModel
    with _explained(name, "model"), _quiet():
        foreign.check_parameters(name, lambda: auto.from_config(_config(name), trust_remote_code=False))
        model, info = auto.from_pretrained(
            name, use_safetensors=True, trust_remote_code=False, output_loading_info=True
        )
    if missing := sorted(key for key in info["missing_keys"] if "pooler" not in key):
        raise ConfigError(f"The model {name!r} lacks weights ({', '.join(missing[:3])}); save it again, whole.")
    return model.float()


def save_model(model: Any, source: str, destination: Path) -> None:
    """Save a model without a head, and the tokenizer of the one that it came from, for `from_pretrained`.

    Raises:
        ConfigError: the tokenizer is no longer there.
    """
    with _quiet():
        model.save_pretrained(destination)
        tokenizer_of(source).tokenizer.save_pretrained(destination)


def _class_names(config: Any) -> tuple[str, ...]:
    """The configuration's class names in the order of outputs; empty where they are only `LABEL_0` and so on."""
    names = config.id2label or {}
    ordered = tuple(str(names[i]) for i in sorted(names))
    return () if ordered == tuple(f"LABEL_{i}" for i in range(len(ordered))) else ordered


def _shown(config: Any) -> str:
    names = _class_names(config)
    return ", ".join(names[:12]) + (" and more" if len(names) > 12 else "") if names else "without names"


def _padding_id(name: str) -> int:
    return tokenizer_of(name).tokenizer.pad_token_id


def _longest(name: str, tokenizer: Any) -> int:
    """The longest sequence that a tokenizer's model can take."""
    if tokenizer.model_max_length < 1_000_000:
        return tokenizer.model_max_length
    try:
        return int(getattr(_config(name), "max_position_embeddings", 0)) or 1_000_000
    except ConfigError:
        # A directory may have a tokenizer without a model.
        return 1_000_000


def _processor(name: str) -> Document:
    transformers = _transformers()
    with _explained(name, "image processor (preprocessor_config.json)"):
        return foreign.read_json(Path(transformers.utils.cached_file(name, "preprocessor_config.json")))


def load_tokenizer(name: str) -> Any:
    """A tokenizer of transformers, from a directory, from the hub, or from a file of GGUF.

    Raises:
        ConfigError: there is none; the message says why.
        MissingExtraError: a package is not installed.
    """
    auto, path = _transformers().AutoTokenizer, Path(name)
    if path.suffix == ".gguf" and path.is_file():
        with explain_errors(name, "tokenizer"), _quiet(), foreign.gguf_file(path) as place:
            return auto.from_pretrained(**place, trust_remote_code=False)
    with _explained(name, "tokenizer"), _quiet():
        return auto.from_pretrained(name, trust_remote_code=False)


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise MissingExtraError("transformers", "llm", "A Hugging Face model") from error
    return transformers


@contextlib.contextmanager
def _explained(name: str, what: str) -> Iterator[None]:
    """Check a model before it is opened, and turn transformers' errors about it into a sentence."""
    with explain_errors(name, what), foreign.check_model(name):
        yield


@contextlib.contextmanager
def explain_errors(name: str, what: str) -> Iterator[None]:
    """Turn transformers' errors about a model into a sentence.

    Args:
        name: its directory or hub name.
        what: the kind of model, for the message.
    """
    try:
        yield
    except DidactError:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigError(
            f"The {what} of {name!r} can't be loaded: {lines[0].rstrip('. ')}. Give a directory that save_pretrained "
            "wrote, or a name on the hub."
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence transformers' progress bars and warnings about new heads within this context."""
    logging = _transformers().utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(50)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
