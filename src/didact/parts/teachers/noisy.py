"""A control that is wrong on a fixed random share of the examples or tokens."""

from dataclasses import replace

from didact.options import convert
from didact.parts.kinds import Spec
from didact.parts.part import ForExamples, ForQuestions, Part
from didact.teachers import NoisyTeacher

FORM = "noisy:RATE:TEACHER"
EXAMPLE = "noisy:0.3:cnn:32,64"


def build(spec: Spec, purpose: ForExamples | ForQuestions) -> Part:
    """A teacher with noise on a share of its signals."""
    part, classes = purpose.build(spec.inner[0]), purpose.classes(spec)
    rate = convert(f"the rate in {spec.field}={spec.text!r}", spec.argument, float)
    teacher = NoisyTeacher(part.model, rate=rate, seed=purpose.seed, classes=classes)
    return replace(part, model=teacher, spec=spec.text, control=True, members=())
