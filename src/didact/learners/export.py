"""Export of learners: as safetensors that didact can load, as ONNX, or as a Hugging Face directory."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from didact import files
from didact.documents import Document, Values
from didact.errors import ConfigError, check_choice
from didact.learners.facts import check_facts
from didact.learners.module import ModuleLearner
from didact.preprocessing import parse
from didact.types import Examples, Scale

if TYPE_CHECKING:
    from didact.learners.huggingface import Tokenizer

_FORMATS = ("safetensors", "onnx", "hf")


def export(
    learner: ModuleLearner,
    destination: str | Path,
    *,
    to: Literal["safetensors", "onnx", "hf"],
    examples: Examples,
    spec: str | None = None,
    config: Values | None = None,
    logits: bool = False,
    tokenizer: "Tokenizer | None" = None,
) -> Path:
    """Export a learner to a file or directory; an existing one is replaced only on success.

    Args:
        learner: the learner; it is not changed.
        destination: a file for safetensors and ONNX, to which the suffix is added if missing; a directory for `hf`.
        to: `safetensors`: weights, with what is needed to rebuild the learner. `onnx`: a graph from rows as they came
            to `probabilities` [B, C] and `label` [B], the name of the likeliest class; of masks [B, C, H, W] and `mask`
            [B, H, W], its number; or to `prediction` [B, 1] in the user's unit; with any batch size, checked against
            torch. Its inputs are the columns of a table [B, 1] by name, `images` uint8 [B, H, W, channels], `series`
            float64 [B, channels, steps], or token ids; what it can't do is told in `NAME.onnx.json`, and done by the
            script `NAME.onnx.py`. `hf`: a directory that `from_pretrained` reads, for learners that were loaded from
            one; of an encoder, as sentence-transformers has it.
        examples: any with the kind, shape and classes of its training data.
        spec: the spec from which `didact.parts` builds the learner; None for a user's own module.
        config: further facts to keep in the file, as JSON.
        logits: whether an ONNX graph of a classification answers with `logits` [B, C] too.
        tokenizer: by which the learner reads text, which is written beside an ONNX graph; None where it reads bytes.

    Returns:
        The path that was written.

    Raises:
        ConfigError: the format is unknown, or not available for this learner.
        DidactError: the ONNX graph can't be exported, or its outputs differ.
        MissingExtraError: onnx, onnxscript or onnxruntime is not installed.
    """
    check_choice("to", to, _FORMATS)
    if logits and to != "onnx":
        raise ConfigError(f"logits is set, but to is {to!r}, whose readers compute them; leave it out.")
    path = Path(destination)
    if to == "hf":
        return _to_hugging_face(learner, path, examples)
    path = path if path.suffix else path.with_suffix(f".{to}")
    facts = {**describe(examples), "spec": spec, "config": dict(config or {})}
    if to == "safetensors":
        files.write_tensors(path, learner.state_dict(), facts)
    else:
        from didact.learners import onnx_export

        onnx_export.to_onnx(learner, path, examples, facts, logits=logits, tokenizer=tokenizer)
    return path


def describe(examples: Examples) -> Document:
    """The facts about the data that a student depends on: how rows become inputs, and what its answers mean."""
    known, scale = examples.preprocessing, examples.scale
    return {
        "task": examples.task,
        "modality": examples.modality,
        "shape": list(examples.shape),
        "classes": list(examples.classes),
        "scale": None if scale is None else [scale.mean, scale.std],
        "preprocessing": None if known is None else known.describe(),
        "vocabulary": examples.vocabulary,
        "target": examples.target,
        "id_column": examples.id_column,
    }


def blank_examples(description: Values) -> Examples:
    """Two blank examples with the facts of `describe`."""
    shape, known, scale = description["shape"], description["preprocessing"], description["scale"]
    if description["modality"] == "text":
        inputs = {name: torch.ones(2, *shape, dtype=torch.int64) for name in ("input_ids", "attention_mask")}
    else:
        inputs = {"x": torch.zeros(2, *shape)}
    return Examples(
        tensors={**inputs, "id": torch.arange(2)},
        task=description["task"],
        modality=description["modality"],
        classes=tuple(description["classes"]),
        scale=None if scale is None else Scale(*map(float, scale)),
        preprocessing=None if known is None else parse(known),
        vocabulary=description["vocabulary"],
        target=description["target"],
        id_column=description["id_column"],
    )


def read(path: str | Path) -> tuple[dict[str, Tensor], Document]:
    """The tensors and facts in safetensors that `export` wrote.

    Args:
        path: of the file.

    Returns:
        Tensors by name, as `learner.state_dict()`; and the facts of `describe`, with `spec` and `config`.

    Raises:
        CheckpointError: the file is missing, broken, not from didact, or has invalid facts.
    """
    tensors, known = files.read_tensors(Path(path))
    check_facts(Path(path), known)
    return tensors, known


def _to_hugging_face(learner: ModuleLearner, path: Path, examples: Examples) -> Path:
    from didact.learners import encoders, huggingface

    if isinstance(learner.module, encoders.Encoder):
        path.mkdir(parents=True, exist_ok=True)
        encoders.save_encoder(learner.module, path)
        return path
    if not isinstance(learner.module, huggingface.TextClassifier | huggingface.ImageClassifier):
        raise ConfigError(
            f"to is 'hf', but the learner is a {type(learner.module).__name__}, no Hugging Face model; 'safetensors' "
            "and 'onnx' would work."
        )
    path.mkdir(parents=True, exist_ok=True)
    huggingface.save(learner.module, path, examples.classes)
    return path
