"""The average of the student's own checkpoints, one every so many steps."""

from didact.options import convert
from didact.parts.kinds import Spec
from didact.parts.part import ForQuestions, Part
from didact.teachers import MergedTeacher

FORM = "merged:STEPS"
EXAMPLE = "merged:20"


def build(spec: Spec, purpose: ForQuestions) -> Part:
    """A teacher that follows the student."""
    if purpose.student is None:
        raise spec.error("it is an average of the student, and there is no student.")
    every = convert(f"the steps in {spec.field}={spec.text!r}", spec.argument, int)
    return Part(model=MergedTeacher(purpose.student, every=every), spec=spec.text)
