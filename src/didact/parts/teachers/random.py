"""A control that predicts at random."""

from didact.parts.kinds import Spec
from didact.parts.part import ForExamples, ForQuestions, Part
from didact.teachers import RandomTeacher

EXAMPLE = "random"


def build(spec: Spec, purpose: ForExamples | ForQuestions) -> Part:
    """A teacher whose predictions depend only on the example's id and the seed."""
    return Part(model=RandomTeacher(purpose.classes(spec), seed=purpose.seed), spec=spec.text, control=True)
