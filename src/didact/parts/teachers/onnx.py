"""A model in an ONNX file."""

from pathlib import Path

from didact.parts.kinds import Spec
from didact.parts.part import ForExamples, Part
from didact.teachers import OnnxTeacher

FORM = "onnx:FILE.onnx"
EXAMPLE = "model.onnx"
PATHS = ("*.onnx",)


def build(spec: Spec, purpose: ForExamples) -> Part:
    """The model, with its classes in the data's order."""
    examples = purpose.examples
    return Part(model=OnnxTeacher(Path(spec.argument), classes=examples.classes, task=examples.task), spec=spec.text)
