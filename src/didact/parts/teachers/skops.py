"""A scikit-learn estimator saved with skops; pickles are refused, whatever their names."""

from pathlib import Path

from didact.parts.kinds import Spec
from didact.parts.part import ForExamples, Part
from didact.teachers import EstimatorTeacher, RawRows, reader_of, translate
from didact.teachers.estimator import load_skops

FORM = "skops:FILE.skops"
EXAMPLE = "forest.skops"
PATHS = ("*.skops", "*")


def classes(spec: Spec, trust: tuple[str, ...]) -> tuple[str, ...]:
    """The names of its classes; none of a regression."""
    return tuple(map(str, getattr(load_skops(spec.argument, trust=trust), "classes_", ())))


def build(spec: Spec, purpose: ForExamples) -> Part:
    """The estimator, with its classes in the data's order."""
    examples = purpose.examples
    teacher = EstimatorTeacher.load(
        Path(spec.argument),
        classes=examples.classes,
        rows=RawRows(examples) if examples.modality == "table" else None,
        task=examples.task,
        trust=purpose.trust,
    )
    plain = examples.scale is None and examples.modality != "series"
    model = teacher if plain else translate(teacher, examples.scale, reader_of(examples))
    return Part(model=model, spec=spec.text)
