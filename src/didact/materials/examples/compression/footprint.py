"""What a student takes: its numbers, the megabytes of its exported file, and that file's time for 1,000 rows."""

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from didact import evaluation
from didact.errors import ConfigError, DidactError, MissingExtraError
from didact.learners.onnx_graph import IMAGES, SERIES
from didact.parts.student import Student
from didact.preprocessing import Category, Date, ImagePreprocessing, SeriesPreprocessing, TablePreprocessing
from didact.types import Examples

ROWS = 1000
"""Rows that are answered at once."""
SECONDS = 0.2
"""How long a file is timed."""
LEAST, MOST = 5, 200
"""The fewest and most repetitions."""


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """What a student takes."""

    parameters: int
    """Its weights; of trees the thresholds, and the values of all nodes."""
    megabytes: float
    """The size of its exported file, 10⁶ bytes each."""
    milliseconds: float
    """The median time for 1,000 rows at once, on one thread."""
    runtime: str
    """What answered: `onnxruntime`, from raw rows; or `torch`, from encoded rows, where there is no such file."""


def measure(student: Student, examples: Examples) -> Footprint:
    """Export a student, and time its file on rows.

    Args:
        student: any.
        examples: rows to answer, at least one; they are repeated up to 1,000.
    """
    many = examples.select(torch.arange(ROWS) % examples.size)
    parameters = sum(weight.numel() for weight in student.learner.parameters())
    with tempfile.TemporaryDirectory() as folder:
        try:
            path = student.export(Path(folder) / "student.onnx")
            size, runtime, answer = path.stat().st_size, "onnxruntime", _session(path, many)
        except (DidactError, ConfigError, MissingExtraError):
            size = sum(tensor.nbytes for tensor in student.learner.state_dict().values())
            runtime, answer = "torch", lambda: evaluation.predict(student.learner, many)
        return Footprint(
            parameters=parameters, megabytes=size / 1e6, milliseconds=median_time(answer) * 1e3, runtime=runtime
        )


def median_time(run: Callable[[], object], *, least: int = LEAST, seconds: float = SECONDS) -> float:
    """The median seconds of a call, after one that does not count.

    Args:
        run: what is called.
        least: the fewest calls.
        seconds: after which no further call begins.
    """
    run()
    found, start = list[float](), time.perf_counter()
    while len(found) < least or (time.perf_counter() - start < seconds and len(found) < MOST):
        begin = time.perf_counter()
        run()
        found.append(time.perf_counter() - begin)
    return statistics.median(found)


def _session(path: Path, examples: Examples) -> Callable[[], object]:
    """A call of onnxruntime, on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed = raw_inputs(examples)
    return lambda: session.run(None, feed)


def raw_inputs(examples: Examples) -> dict[str, np.ndarray]:
    """Rows as an exported graph takes them: columns [N, 1], images as bytes, series, or token ids, by name."""
    known = examples.preprocessing
    if isinstance(known, TablePreprocessing):
        cells = known.decode(examples.tensors["x"].numpy())
        return {c.name: _column(c, cells[c.name])[:, None] for c in known.columns if c.width}
    if isinstance(known, ImagePreprocessing):
        pixels = (examples.tensors["x"] * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
        return {IMAGES: np.ascontiguousarray(pixels.numpy())}
    if isinstance(known, SeriesPreprocessing):
        mean, std = (np.array(unit)[:, None] for unit in (known.means, known.stds))
        return {SERIES: examples.tensors["x"].double().numpy() * std + mean}
    names = ("x",) if "x" in examples.tensors else ("input_ids", "attention_mask")
    return {name: examples.tensors[name].numpy() for name in names}


def _column(column: object, cells: np.ndarray) -> np.ndarray:
    if isinstance(column, Category):
        return np.array(["" if cell is None else cell for cell in cells], dtype=object)
    if isinstance(column, Date):
        gap = np.isnat(cells)
        words = np.datetime_as_string(np.where(gap, np.datetime64(0, "s"), cells)).astype(object)
        return np.where(gap, "", words)
    return cells.astype(np.float64)
