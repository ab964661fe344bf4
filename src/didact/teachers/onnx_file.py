"""An ONNX file as a teacher."""

import math
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from didact.documents import Document, parse_json
from didact.errors import MissingExtraError, TeacherError
from didact.teachers.base import BaseTeacher, reorder
from didact.teachers.classes import align, check_count, pixel_rows
from didact.teachers.files import check_not_pickled
from didact.teachers.tables import RawRows, check_columns
from didact.types import Batch, Labels, Logits, Task

_TYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
}


PATIENCE = 30.0
"""The time limit of a batch, in seconds."""
PATIENCE_EACH = 10.0
"""Additional seconds for each example."""
LONGEST = 1000
"""The largest length of a class name, in characters."""
_SILENT = 4
"""The level of onnxruntime's log: fatal errors alone, since errors are raised, too."""


class OnnxTeacher(BaseTeacher):
    """A model in an ONNX file, run by onnxruntime on the CPU; its signals are moved to the batch's device.

    A graph with one input is given `x`, in the shape that the graph declares (flattened where that has two dimensions),
    or, where it takes bytes, images [B, H, W, C]; a graph whose inputs are named as tensors of the batch (`input_ids`,
    `attention_mask`) is given those, and one whose inputs are named as columns of a table is given these as they came,
    [B, 1] each. The answer is the output named `probabilities` or `logits`, else the only one of shape [B, C]; a ZipMap
    at the end, as of skl2onnx, is taken off. For masks it is [B, C, H, W]. Class names, from the file's metadata
    (`classes`, a JSON list) or the ZipMap, are aligned with the data's.

    Args:
        path: of an `.onnx` file.
        classes: the data's class names, in the order of the label numbers; empty for a regression.
        task: `classification`, `regression` or `segmentation`.
        output: name of the output to use, where it is ambiguous.
        order: int64 [C], as for `FrozenTeacher`, where the file has no class names.
        view: name of the view of the batch that it looks at, where the batch has that view.
        rows: the rows behind the batches, for data that are a table.

    Raises:
        TeacherError: the file is not ONNX, onnxruntime can't run it, or it doesn't fit the data.
        MissingExtraError: onnxruntime or onnx is not installed.
    """

    kind = "an ONNX model"

    def __init__(
        self,
        path: str | Path,
        *,
        classes: Sequence[str] = (),
        task: Task = "classification",
        output: str | None = None,
        order: Tensor | None = None,
        view: str | None = None,
        rows: RawRows | None = None,
    ) -> None:
        super().__init__(view=view)
        self.path, self.classes, self.task = check_not_pickled(path), tuple(classes), task
        self._rows, self.masks = rows, task == "segmentation"
        self._session, own = _opened(self.path)
        self._check_inputs()
        self._output = self._pick_output(output)
        self._order = self._find_order(own) if order is None else order
        self._soft: bool | None = None

    def signal(self, batch: Batch) -> Labels | Logits:
        """Predict a batch.

        Returns:
            `Labels` of probabilities float32 [B, C] if the rows of the first prediction sum to 1, else `Logits`;
            `Labels` float32 [B] for a regression. Of masks, a row for each pixel, [B * H * W, C].

        Raises:
            TeacherError: the batch doesn't fit the graph, or the prediction doesn't fit the data.
        """
        seen = self._look(batch)
        answer = self._run(self._feed(seen), batch.size)
        self.count(seen)
        answer = np.asarray(answer, dtype=np.float32)
        scores = torch.from_numpy(pixel_rows(answer) if self.masks else answer).to(batch["id"].device)
        if self.task == "regression":
            return Labels(labels=self._targets(scores, batch.size))
        check_count(scores.shape[-1] if scores.ndim == 2 else 1, self.classes, self.kind)
        if self._soft is None:
            self._soft = bool(((scores.sum(-1) - 1).abs() < 1e-3).all() and (scores >= 0).all())
        scores = reorder(scores, self._order)
        return Labels(labels=scores) if self._soft else Logits(logits=scores)

    def _run(self, feed: Document, size: int) -> Any:
        """Run the graph under a time limit, which stops endless loops."""
        import onnxruntime

        options, seconds = onnxruntime.RunOptions(), PATIENCE + size * PATIENCE_EACH
        options.log_severity_level = _SILENT
        watch = threading.Timer(seconds, setattr, (options, "terminate", True))
        watch.daemon = True
        watch.start()
        try:
            return self._session.run([self._output.name], feed, options)[0]
        except Exception as error:
            if options.terminate:
                raise TeacherError(
                    f"{self.path} was stopped, as it took more than {seconds:g} seconds for {size} examples. Give a "
                    "model that ends, or smaller batches."
                ) from None
            raise TeacherError(f"{self.path} failed on a batch of {size}: {_first_line(error)}.") from error
        finally:
            watch.cancel()

    def _targets(self, answer: Tensor, size: int) -> Tensor:
        if answer.numel() != size:
            raise TeacherError(
                f"{self.path} predicts {list(answer.shape)} for a batch of {size}; a regression needs one number each."
            )
        return answer.reshape(size)

    def _feed(self, batch: Batch) -> dict[str, np.ndarray]:
        inputs = self._session.get_inputs()
        if self._rows is not None and self._reads_columns():
            return self._rows.columns(batch, {part.name: _TYPES.get(part.type, np.object_) for part in inputs})
        if len(inputs) == 1 and "x" in batch:
            x, only = self._numbers(batch), inputs[0]
            x = _pixels(x, only.shape) if only.type == "tensor(uint8)" else x
            return {only.name: _cast(self._shaped(x, only.shape), only.type)}
        if not all(part.name in batch for part in inputs):
            raise TeacherError(
                f"{self.path} has the inputs {', '.join(part.name for part in inputs)}, but the batch has "
                f"{', '.join(sorted(batch))}. A graph needs one input, for x, or inputs named as the batch's tensors."
            )
        return {part.name: _cast(batch[part.name], part.type) for part in inputs}

    def _reads_columns(self) -> bool:
        """Whether its inputs are named as columns of the data."""
        return self._rows is not None and {part.name for part in self._session.get_inputs()} <= set(self._rows.names)

    def _numbers(self, batch: Batch) -> Tensor:
        """The only input: the rows' own numbers, where the graph takes as many as there are columns; else `x`."""
        declared = self._session.get_inputs()[0].shape or []
        if self._rows is None or len(declared) != 2 or not isinstance(declared[1], int):
            return batch["x"]
        found = self._rows.numbers(batch, declared[1])
        return batch["x"] if found is None else torch.from_numpy(found)

    def _shaped(self, x: Tensor, declared: list[Any] | None) -> Tensor:
        """`x` [B, ...] in the shape that the graph declares, if possible."""
        dims = list(declared or [None, *x.shape[1:]])
        if isinstance(dims[0], int) and dims[0] != len(x):
            raise TeacherError(
                f"{self.path} takes batches of exactly {dims[0]}, but was given {len(x)} examples. Export it with a "
                "dynamic batch size."
            )
        rest = dims[1:]
        static = [d for d in rest if isinstance(d, int)]
        if len(dims) == x.ndim:
            fits = all(not isinstance(d, int) or d == n for d, n in zip(rest, x.shape[1:], strict=True))
        elif len(static) == len(rest):
            fits = math.prod(static) == math.prod(x.shape[1:])
            x = x.reshape(len(x), *static) if fits else x
        else:
            fits, x = len(dims) == 2, x.flatten(1)
        if not fits:
            shown = ", ".join(str(d) if isinstance(d, int) else "any" for d in rest)
            raise TeacherError(
                f"{self.path} takes inputs of shape [{shown}], but an example is {list(x.shape[1:])}. Give data of "
                "that shape (images are [channels, height, width]), or export the model for these."
            )
        return x

    def _check_inputs(self) -> None:
        inputs = self._session.get_inputs()
        if self._rows is not None and self._rows.framed and (len(inputs) > 1 or inputs[0].type == "tensor(string)"):
            check_columns([part.name for part in inputs], self._rows.names)
        for part in inputs:
            if part.type not in _TYPES and not (part.type == "tensor(string)" and self._reads_columns()):
                raise TeacherError(
                    f"{self.path} has the input {part.name!r} of {part.type}, but can be given numbers only. Convert "
                    "the part of the model that comes after the encoding of its columns, or give it as a .skops file."
                )

    def _pick_output(self, name: str | None) -> Any:
        outputs = self._session.get_outputs()
        by_name = {part.name: part for part in outputs}
        known = ", ".join(by_name)
        if name is not None:
            if name not in by_name:
                raise TeacherError(f"output is {name!r}, but {self.path} has: {known}.")
            return by_name[name]
        for usual in ("probabilities", "logits"):
            if usual in by_name and (self.masks or self.task == "classification"):
                return by_name[usual]
        numbers = [part for part in outputs if part.type in ("tensor(float)", "tensor(double)", "tensor(float16)")]
        if self.masks or self.task == "classification":
            numbers = [part for part in numbers if len(part.shape or ()) == (4 if self.masks else 2)]
        if len(numbers) != 1:
            raise TeacherError(
                f"{self.path} has the outputs {known}, of which {len(numbers)} could be the prediction. Name one as "
                f"output=, or export the model with one of shape [B, classes{', H, W' if self.masks else ''}] named "
                "'logits' or 'probabilities'."
            )
        return numbers[0]

    def _find_order(self, own: "_Names") -> Tensor | None:
        if self.task == "regression":
            return None
        shape = self._output.shape or [None]
        count = shape[1] if self.masks and len(shape) == 4 else shape[-1]
        if isinstance(count, int):
            check_count(count, self.classes, self.kind)
        if own.sure:
            return align(own.sure, self.classes)
        try:
            return align(own.likely, self.classes) if own.likely else None
        except TeacherError:
            # Labels inside a graph are often only indices of the actual ones.
            return None


class _Names:
    """Class names in a file: those that certainly name the output's columns, and those that probably do."""

    def __init__(self, sure: Sequence[object] = (), likely: Sequence[object] = ()) -> None:
        self.sure, self.likely = sure, likely


def _opened(path: Path) -> tuple[Any, _Names]:
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError(error.name or "onnxruntime", "foreign", "A teacher in an ONNX file") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _SILENT
    options.intra_op_num_threads = torch.get_num_threads()
    # Its threads would otherwise spin between batches, on the cores that the student uses.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        graph = onnx.load(str(path), load_external_data=False)
        own = _class_names(graph, path)
        # From the path if the graph is unchanged, so that external weights beside the file are found.
        source = graph.SerializeToString() if _without_zipmap(graph) else str(path)
        session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except TeacherError:
        raise
    except Exception as error:
        raise TeacherError(
            f"{path} can't be run by onnxruntime: {_first_line(error)}. Export the model again with standard "
            "operators, and keep the files of its weights beside it."
        ) from error
    return session, own


def _class_names(graph: Any, path: Path) -> _Names:
    for entry in graph.metadata_props:
        if entry.key == "classes":
            return _Names(sure=_listed(entry.value, path))
    likely: Sequence[object] = ()
    for node in graph.graph.node:
        labels = _labels(node)
        if labels and node.op_type == "ZipMap":
            return _Names(sure=labels)
        likely = labels or likely
    return _Names(likely=likely)


def _listed(words: str, path: Path) -> list[str | int]:
    """The class names in a file's metadata."""
    try:
        found = parse_json(words)
    except ValueError as error:
        raise TeacherError(f"{path} gives its classes as something else than JSON: {error}. Export it again.") from None
    if not isinstance(found, list) or not all(type(name) in (str, int) and len(str(name)) <= LONGEST for name in found):
        raise TeacherError(
            f"{path} gives its classes as {words:.80}, but they must be a list of names of at most {LONGEST} "
            "characters. Export it again."
        )
    return found


def _labels(node: Any) -> list[object]:
    for attribute in node.attribute:
        if attribute.name in ("classlabels_strings", "classlabels_int64s", "classlabels_ints"):
            return [name.decode() for name in attribute.strings] or list(attribute.ints)
    return []


def _without_zipmap(graph: Any) -> bool:
    """Remove the ZipMaps at the end of a graph, in place; return whether there were any."""
    from onnx import TensorProto, helper

    zipmaps = [node for node in graph.graph.node if node.op_type == "ZipMap"]
    for node in zipmaps:
        graph.graph.node.remove(node)
        outputs = [out for out in graph.graph.output if out.name != node.output[0]]
        raw = helper.make_tensor_value_info(node.input[0], TensorProto.FLOAT, [None, len(_labels(node))])
        del graph.graph.output[:]
        graph.graph.output.extend([*outputs, raw])
    return bool(zipmaps)


def _pixels(x: Tensor, declared: list[Any] | None) -> Tensor:
    """Images [B, C, H, W] in [0, 1] as bytes: [B, H, W, C], unless the graph declares channels first."""
    x = (x * 255).round().byte()
    return x.permute(0, 2, 3, 1) if x.ndim == 4 and (declared or [])[1:2] not in ([1], [3]) else x


def _cast(tensor: Tensor, declared: str) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().cpu().numpy(), dtype=_TYPES[declared])


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(". ")
