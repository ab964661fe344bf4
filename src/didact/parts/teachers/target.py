"""A teacher that is trained here to predict another tensor of the data than the label."""

from dataclasses import replace

from didact.parts.kinds import Spec
from didact.parts.part import ForExamples, Part
from didact.parts.teachers.view import check_trained
from didact.sources import switch_target

FORM = "target:NAME:TEACHER"
EXAMPLE = "target:style:cnn:16,32"


def build(spec: Spec, purpose: ForExamples) -> Part:
    """A teacher of other classes, for methods that use its features."""
    name = spec.argument
    part = replace(purpose, examples=switch_target(purpose.examples, name)).build(spec.inner[0])
    check_trained(spec, part, purpose)
    first = tuple(replace(one, spec=spec.text, label=name) for one in part.warm_starts)
    return replace(part, spec=spec.text, warm_starts=first, target=name)
