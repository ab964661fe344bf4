"""Export of learners: as safetensors that didact can load, as ONNX, or as a Hugging Face directory."""

import contextlib
import copy
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from didact import files
from didact.documents import Document, Values
from didact.errors import ConfigError, DidactError, MissingExtraError, check_choice
from didact.learners.facts import check_facts
from didact.learners.module import ModuleLearner, _logits_of, _Tap
from didact.preprocessing import parse
from didact.types import Examples, Scale

TOLERANCE = 1e-4
"""The tolerance between ONNX and torch: absolute for outputs up to 1, relative beyond."""

_FORMATS = ("safetensors", "onnx", "hf")


def export(
    learner: ModuleLearner,
    destination: str | Path,
    *,
    to: Literal["safetensors", "onnx", "hf"],
    examples: Examples,
    spec: str | None = None,
    config: Values | None = None,
) -> Path:
    """Export a learner to a file or directory; an existing one is replaced only on success.

    Args:
        learner: the learner; it is not changed.
        destination: a file for safetensors and ONNX, to which the suffix is added if missing; a directory for `hf`.
        to: `safetensors`: weights, with what is needed to rebuild the learner. `onnx`: a graph from the inputs to
            `logits` [B, C] (`prediction` [B, 1] for a regression) with any batch size, checked against torch. `hf`: a
            directory that `from_pretrained` reads, for learners that were loaded from one.
        examples: any with the kind, shape and classes of its training data.
        spec: the spec from which `didact.parts` builds the learner; None for a user's own module.
        config: further facts to keep in the file, as JSON.

    Returns:
        The path that was written.

    Raises:
        ConfigError: the format is unknown, or not available for this learner.
        DidactError: the ONNX graph can't be exported, or its outputs differ.
        MissingExtraError: onnx, onnxscript or onnxruntime is not installed.
    """
    check_choice("to", to, _FORMATS)
    path = Path(destination)
    if to == "hf":
        return _to_hugging_face(learner, path, examples)
    path = path if path.suffix else path.with_suffix(f".{to}")
    facts = {**describe(examples), "spec": spec, "config": dict(config or {})}
    if to == "safetensors":
        files.write_tensors(path, learner.state_dict(), facts)
    else:
        with files.whole_file(path) as partial:
            _to_onnx(learner, partial, examples, facts)
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
    from didact.learners import huggingface

    if not isinstance(learner.module, huggingface.TextClassifier | huggingface.ImageClassifier):
        raise ConfigError(
            f"to is 'hf', but the learner is a {type(learner.module).__name__}, no Hugging Face model; 'safetensors' "
            "and 'onnx' would work."
        )
    path.mkdir(parents=True, exist_ok=True)
    huggingface.save(learner.module, path, examples.classes)
    return path


class _Answering(nn.Module):
    """Named inputs in, logits out: a copy of a learner without taps, on the CPU, in evaluation mode."""

    def __init__(self, learner: ModuleLearner) -> None:
        super().__init__()
        self.module = copy.deepcopy(learner.module).cpu().eval().requires_grad_(False)
        for part in self.module.modules():
            for hooks in (part._forward_hooks, part._forward_pre_hooks):
                for key in [key for key, hook in hooks.items() if isinstance(hook, _Tap)]:
                    del hooks[key]

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        result = self.module(next(iter(inputs.values()))) if len(inputs) == 1 else self.module(**inputs)
        return result if isinstance(result, Tensor) else _logits_of(result)


def _to_onnx(learner: ModuleLearner, path: Path, examples: Examples, facts: Document) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        try:
            __import__(package)
        except ImportError as error:
            raise MissingExtraError(package, "foreign", "Exporting to ONNX") from error
    model = _Answering(learner)
    inputs = _probe(learner, examples, 3)
    shapes = {name: _dynamic(name) for name in inputs}
    answer = "prediction" if examples.task == "regression" else "logits"
    with _quiet():
        try:
            program = torch.onnx.export(
                model,
                kwargs={"inputs": inputs},
                dynamo=True,
                verbose=False,
                input_names=list(inputs),
                output_names=[answer],
                dynamic_shapes={"inputs": shapes},
            )
        except Exception as error:
            # torch's own message is advice to its developers; the reason is in the cause.
            reason = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
            raise DidactError(
                f"The learner can't be turned into ONNX: {reason[0].rstrip('. ')}. 'safetensors' would work."
            ) from error
    assert program is not None
    program.model.metadata_props.update(didact=json.dumps(facts), classes=json.dumps(facts["classes"]))
    program.save(str(path), external_data=False)
    _check_onnx(path, model, _probe(learner, examples, 5))


def _dynamic(name: str) -> dict[int, Any]:
    """The dynamic axes: the batch size, and the length of texts where the model allows it."""
    dims = {0: torch.export.Dim.DYNAMIC}
    return {**dims, 1: torch.export.Dim.AUTO} if name in ("input_ids", "attention_mask") else dims


def _probe(learner: ModuleLearner, examples: Examples, size: int) -> dict[str, Tensor]:
    """Random inputs that look like the examples."""
    generator = torch.Generator().manual_seed(0)
    shape = (size, *examples.shape)
    if examples.modality == "text":
        lengths = torch.randint(1, shape[1] + 1, (size, 1), generator=generator)
        known = {
            "input_ids": torch.randint(0, max(examples.vocabulary, 2), shape, generator=generator),
            "attention_mask": (torch.arange(shape[1]) < lengths).long(),
        }
    else:
        known = {"x": torch.rand(shape, generator=generator)}
    wanted = learner.inputs or tuple(known)
    if not set(wanted) <= set(known):
        raise ConfigError(
            f"to is 'onnx', but the learner takes {', '.join(wanted)}, of which only {', '.join(known)} can be "
            "exported; 'safetensors' would work."
        )
    return {name: known[name] for name in wanted}


def _check_onnx(path: Path, model: nn.Module, inputs: dict[str, Tensor]) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    known = {part.name for part in session.get_inputs()}
    given = {name: tensor.numpy() for name, tensor in inputs.items() if name in known}
    answer = torch.from_numpy(session.run(None, given)[0])
    with torch.no_grad():
        wanted = model(inputs)
    apart = float(((answer - wanted).abs() / wanted.abs().clamp(min=1.0)).max())
    if not apart <= TOLERANCE:
        raise DidactError(
            f"The ONNX graph differs from the learner by {apart:.2g}, more than {TOLERANCE:g}, so that it was not "
            "kept; 'safetensors' would work."
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter; its errors are still raised."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
