"""The student that a finished run delivered, by the run's directory or an exported file."""

from dataclasses import replace

from didact.errors import TeacherError
from didact.parts import saved
from didact.parts.kinds import Spec
from didact.parts.part import VIEW, ForExamples, ForQuestions, Part
from didact.sources.text import ByteTokenizer
from didact.teachers import FrozenTeacher, LanguageTeacher, align
from didact.types import Examples

FORM = "run:DIRECTORY | run:FILE.safetensors"
EXAMPLE = "runs/NAME"
PATHS = ("*/student.safetensors", "*/metrics.jsonl", "*.safetensors")


def build(spec: Spec, purpose: ForExamples | ForQuestions) -> Part:
    """The delivered student as a teacher."""
    if isinstance(purpose, ForQuestions):
        part = purpose.build(replace(spec, role="student"))
        return replace(part, model=LanguageTeacher(part.model))
    found, like = saved.load(spec.argument, purpose.trust)
    check_like(like, spec, purpose)
    examples = purpose.examples
    order = align(like.classes, examples.classes) if examples.task == "classification" else None
    text = examples.modality == "text"
    tokenizer = (found.tokenizer or ByteTokenizer(like.shape[0])) if text else None
    teacher = FrozenTeacher(found.model, order=order, view=VIEW if text else None)
    return Part(model=teacher, spec=spec.text, tokenizer=tokenizer, origin=found.origin)


def check_like(like: Examples, spec: Spec, purpose: ForExamples) -> None:
    """Raise `TeacherError` unless a run's student was trained on examples of the same kind."""
    examples = purpose.examples
    for what, theirs, ours in (
        ("task", like.task, examples.task),
        ("kind of data", like.modality, examples.modality),
        ("columns", [c.name for c in like.columns], [c.name for c in examples.columns]),
        ("categories", [c.categories for c in like.columns], [c.categories for c in examples.columns]),
        ("shape of an input", like.shape, examples.shape),
    ):
        if theirs != ours and not (what == "shape of an input" and examples.modality == "text"):
            raise TeacherError(
                f"{spec.subject}, whose {what} was {theirs!r}, but these data have "
                f"{ours!r}; give a {spec.role} of data like these."
            )
