"""A model in an ONNX file."""

from pathlib import Path

from didact.parts.kinds import Spec
from didact.parts.part import ForExamples, Part
from didact.teachers import OnnxTeacher, RawRows, reader_of, translate

FORM = "onnx:FILE.onnx"
EXAMPLE = "model.onnx"
PATHS = ("*.onnx",)


def build(spec: Spec, purpose: ForExamples) -> Part:
    """The model, with its classes in the data's order."""
    examples = purpose.examples
    rows = RawRows(examples) if examples.modality == "table" else None
    teacher = OnnxTeacher(Path(spec.argument), classes=examples.classes, task=examples.task, rows=rows)
    return Part(model=translate(teacher, examples.scale, reader_of(examples)), spec=spec.text)
