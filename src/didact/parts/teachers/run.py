"""The student that a finished run delivered, by the run's directory or an exported file."""

from dataclasses import replace

from didact.errors import TeacherError
from didact.parts import saved
from didact.parts.kinds import Spec
from didact.parts.part import VIEW, ForExamples, ForQuestions, Part
from didact.preprocessing import SeriesPreprocessing, TablePreprocessing
from didact.sources.text import ByteTokenizer
from didact.teachers import (
    EncoderTeacher,
    FrozenTeacher,
    LanguageTeacher,
    RawRows,
    RawSeries,
    TranslatedTeacher,
    align,
)
from didact.teachers.tables import check_columns
from didact.types import Examples

FORM = "run:DIRECTORY | run:FILE.safetensors"
EXAMPLE = "runs/NAME"
PATHS = ("*/student/student.json", "*/student.json", "*/metrics.jsonl", "*.safetensors")


def classes(spec: Spec, trust: tuple[str, ...]) -> tuple[str, ...]:
    """The names of its classes; none of a regression."""
    return saved.load(spec.argument, trust).like.classes


def width(spec: Spec, trust: tuple[str, ...]) -> int:
    """How many numbers its embeddings have; 0 where it makes none."""
    like = saved.read_facts(spec.argument)
    return like.outputs if like.task == "embedding" else 0


def build(spec: Spec, purpose: ForExamples | ForQuestions) -> Part:
    """The delivered student as a teacher."""
    if isinstance(purpose, ForQuestions):
        part = purpose.build(replace(spec, role="student"))
        return replace(part, model=LanguageTeacher(part.model))
    found, examples = saved.load(spec.argument, purpose.trust), purpose.examples
    like = found.like
    _check_like(like, spec, purpose)
    order = align(like.classes, examples.classes) if examples.task == "classification" else None
    text = examples.modality == "text"
    tokenizer = (found.tokenizer or ByteTokenizer(like.shape[0])) if text else None
    view = VIEW if text else None
    if examples.task == "embedding":
        teacher = EncoderTeacher(found.learner, view=view)
    else:
        teacher = FrozenTeacher(found.learner, order=order, view=view)
    known, ours = like.preprocessing, examples.preprocessing
    if isinstance(known, TablePreprocessing) and isinstance(ours, TablePreprocessing) and not known.encodes_as(ours):
        look = RawRows(examples).reader(known)
        teacher = TranslatedTeacher(teacher, scale=examples.scale, own=like.scale, look=look)
    elif isinstance(known, SeriesPreprocessing) and known != ours:
        look = RawSeries(examples).reader(known)
        teacher = TranslatedTeacher(teacher, scale=examples.scale, own=like.scale, look=look)
    elif examples.scale != like.scale:
        teacher = TranslatedTeacher(teacher, scale=examples.scale, own=like.scale)
    return Part(model=teacher, spec=spec.text, tokenizer=tokenizer, origin=found.origin)


def _check_like(like: Examples, spec: Spec, purpose: ForExamples) -> None:
    """Raise `TeacherError` unless a run's student was trained on examples of the same kind."""
    examples = purpose.examples
    facts = [("task", like.task, examples.task), ("kind of data", like.modality, examples.modality)]
    known, ours = like.preprocessing, examples.preprocessing
    if isinstance(known, TablePreprocessing) and isinstance(ours, TablePreprocessing):
        check_columns(
            [column.name for column in known.columns if column.width], [column.name for column in ours.columns]
        )
    elif examples.modality != "text":
        facts.append(("shape of an input", str(like.shape), str(examples.shape)))
    for what, theirs, own in facts:
        if theirs != own:
            raise TeacherError(
                f"{spec.subject}, whose {what} was {theirs!r}, but these data have {own!r}; give a {spec.role} of data "
                "like these."
            )
