"""A control that is confidently wrong."""

from dataclasses import replace

from didact.parts.kinds import Spec
from didact.parts.part import ForExamples, ForQuestions, Part
from didact.teachers import AdversarialTeacher

FORM = "adversarial:TEACHER"
EXAMPLE = "adversarial:mlp:256,256"


def build(spec: Spec, purpose: ForExamples | ForQuestions) -> Part:
    """A teacher whose two most likely classes or tokens are swapped."""
    part, classes = purpose.build(spec.inner[0]), purpose.classes(spec)
    return replace(
        part, model=AdversarialTeacher(part.model, classes=classes), spec=spec.text, control=True, members=()
    )
