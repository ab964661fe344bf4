"""Export of learners as ONNX, from rows as they came to answers, checked against torch."""

import contextlib
import copy
import importlib.util
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from didact import files
from didact.documents import Values
from didact.errors import ConfigError, DidactError, MissingExtraError
from didact.learners import onnx_beside, onnx_graph, onnx_layers
from didact.learners.maps import unflatten_map
from didact.learners.module import ModuleLearner, _logits_of, _Tap
from didact.preprocessing import ImagePreprocessing, SeriesPreprocessing, TablePreprocessing
from didact.types import Examples

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

    from didact.learners.huggingface import Tokenizer

TOLERANCE, TABLE_TOLERANCE = 1e-4, 1e-5
"""How far the answers of the graph may be from torch's, and those to a table: probabilities, or predictions in units of
their standard deviation."""


def to_onnx(
    learner: ModuleLearner,
    path: Path,
    examples: Examples,
    facts: Values,
    *,
    logits: bool = False,
    tokenizer: "Tokenizer | None" = None,
) -> None:
    """Write a graph, what lies beside it, and check its answers; see `export.export`."""
    # onnxscript takes a second to import, and is needed for other layers than those of didact's own nets alone.
    for package in ("onnx", "onnxscript", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, "foreign", "Exporting to ONNX")
    if logits and examples.task not in ("classification", "segmentation"):
        raise ConfigError(f"logits is set, but the learner answers a {examples.task}, which has none; leave it out.")
    import onnx

    model, scale, masks = _Answering(learner, examples), examples.scale, examples.task == "segmentation"
    inputs = probe(learner, examples, 3)
    with torch.no_grad():
        width = model(inputs).shape[1]
    if width != examples.outputs:
        raise ConfigError(
            f"to is 'onnx', but the learner gives {width} numbers where {examples.outputs} belong, one for each answer."
        )
    graph = onnx_graph.answering(
        (None if masks else onnx_layers.net_of(model.module, examples.shape)) or _net(model, inputs),
        examples.preprocessing,
        classes=examples.classes,
        scale=None if scale is None else (scale.mean, scale.std),
        logits=logits,
        embedding=examples.task == "embedding",
        side=examples.shape[1:] if masks else (),
    )
    onnx.helper.set_model_props(
        graph, {"didact": json.dumps(facts), "classes": json.dumps(list(examples.classes), ensure_ascii=False)}
    )
    outputs = [{"name": one.name, "type": _shown(one)} for one in graph.graph.output]
    with files.whole_file(path) as partial:
        onnx.save(graph, str(partial))
        _check(partial, model, learner, examples)
        onnx_beside.write(path, examples, outputs, tokenizer)


def _shown(output: "ValueInfoProto") -> str:
    """The type and shape of an output, for people."""
    from onnx import helper

    tensor = output.type.tensor_type
    dims = ", ".join(dim.dim_param or str(dim.dim_value) for dim in tensor.shape.dim)
    kind = helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    return f"{'string' if kind == np.object_ else kind} [{dims}]"


class _Answering(nn.Module):
    """Named inputs in, logits out: a copy of a learner without taps, on the CPU, in evaluation mode.

    The logits of masks are [B, C, H, W].
    """

    def __init__(self, learner: ModuleLearner, examples: Examples) -> None:
        super().__init__()
        self.masks = examples.task == "segmentation"
        self.module = copy.deepcopy(learner.module).cpu().eval().requires_grad_(False)
        for part in self.module.modules():
            for hooks in (part._forward_hooks, part._forward_pre_hooks):
                for key in [key for key, hook in hooks.items() if isinstance(hook, _Tap)]:
                    del hooks[key]

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        result = self.module(next(iter(inputs.values()))) if len(inputs) == 1 else self.module(**inputs)
        scores = result if isinstance(result, Tensor) else _logits_of(result)
        return unflatten_map(scores, inputs["x"]) if self.masks else scores


def _net(model: nn.Module, inputs: dict[str, Tensor]) -> "ModelProto":
    """The net alone, from its inputs to logits."""
    with _quiet():
        try:
            program = torch.onnx.export(
                model,
                kwargs={"inputs": inputs},
                dynamo=True,
                verbose=False,
                opset_version=onnx_graph.OPSET,
                input_names=list(inputs),
                output_names=["logits"],
                dynamic_shapes={"inputs": {name: _dynamic(name) for name in inputs}},
            )
        except Exception as error:
            # torch's own message is advice to its developers; the reason is in the cause.
            reason = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
            raise DidactError(
                f"The learner can't be turned into ONNX: {reason[0].rstrip('. ')}. 'safetensors' would work."
            ) from error
    assert program is not None
    return program.model_proto


def _dynamic(name: str) -> dict[int, Any]:
    """The dynamic axes: the batch size, and the length of texts where the model allows it."""
    dims = {0: torch.export.Dim.DYNAMIC}
    return {**dims, 1: torch.export.Dim.AUTO} if name in ("input_ids", "attention_mask") else dims


def probe(learner: ModuleLearner, examples: Examples, size: int) -> dict[str, Tensor]:
    """Random inputs of a learner that look like the examples, by name.

    Raises:
        ConfigError: it takes inputs that can't be exported.
    """
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


def _check(path: Path, model: nn.Module, learner: ModuleLearner, examples: Examples) -> None:
    """Compare a graph's answers with those of the preprocessing and the net.

    Raises:
        DidactError: they differ.
    """
    known, tolerance = examples.preprocessing, TOLERANCE
    if isinstance(known, TablePreprocessing):
        tolerance = TABLE_TOLERANCE
        wild = onnx_graph.sample_rows(known, wild=True)
        _check_encoding(known, _columns(wild), known.encode(wild).tensors["x"].numpy())
        rows = onnx_graph.sample_rows(known, wild=False)
        feed, inputs = _columns(rows), {"x": known.encode(rows).tensors["x"]}
    elif isinstance(known, SeriesPreprocessing):
        tolerance, series = TABLE_TOLERANCE, onnx_graph.sample_series(known)
        feed, inputs = {onnx_graph.SERIES: series}, {"x": known.encode(series).tensors["x"]}
        _check_encoding(known, feed, inputs["x"].numpy())
    elif isinstance(known, ImagePreprocessing):
        pixels = np.random.default_rng(0).integers(0, 256, (5, known.height, known.width, known.channels), np.uint8)
        feed, inputs = {onnx_graph.IMAGES: pixels}, known.encode(pixels.transpose(0, 3, 1, 2)).tensors
    else:
        inputs = probe(learner, examples, 5)
        feed = {name: tensor.numpy() for name, tensor in inputs.items()}
    answer = torch.from_numpy(_run(str(path), feed))
    with torch.no_grad():
        wanted = model(inputs).double()
    scale = examples.scale
    if examples.classes and examples.task != "embedding":
        wanted = wanted.softmax(1)
    elif scale is not None:
        answer = (answer - scale.mean) / scale.std
    apart = float(((answer - wanted).abs() / wanted.abs().clamp(min=1.0)).max())
    if not apart <= tolerance:
        raise DidactError(
            f"The ONNX graph differs from the learner by {apart:.2g}, more than {tolerance:g}, so that it was not "
            "kept; 'safetensors' would work."
        )


def _check_encoding(
    known: TablePreprocessing | SeriesPreprocessing, feed: Mapping[str, np.ndarray], wanted: np.ndarray
) -> None:
    """Compare `x` for rows that are far from those of training too; the first numbers may be large, and are rounded."""
    found = _run(onnx_graph.encoder(known).SerializeToString(), feed)
    apart = np.abs(found - wanted) / np.maximum(np.abs(wanted), 1)
    if not apart.max() <= TABLE_TOLERANCE / 10:
        raise DidactError(
            f"The ONNX graph reads rows differently, by {apart.max():.2g}, so that it was not kept; 'safetensors' "
            "would work."
        )


def _columns(rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: column.reshape(-1, 1) for name, column in rows.items()}


def _run(source: str | bytes, feed: Mapping[str, np.ndarray]) -> np.ndarray:
    """The first output of a graph, which is a number or one for each class."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    known = {part.name for part in session.get_inputs()}
    return np.asarray(session.run(None, {name: array for name, array in feed.items() if name in known})[0])


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
