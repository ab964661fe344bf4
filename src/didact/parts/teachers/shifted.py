"""A teacher that is trained here on a view of the data, and predicts the plain inputs."""

from dataclasses import replace

from didact.parts.kinds import Spec
from didact.parts.part import ForExamples, Part
from didact.parts.teachers.view import check_trained, purpose_on

FORM = "shifted:NAME:TEACHER"
EXAMPLE = "shifted:privileged:mlp:256,256"


def build(spec: Spec, purpose: ForExamples) -> Part:
    """A teacher for inputs of another distribution."""
    part = purpose_on(spec, purpose).build(spec.inner[0])
    check_trained(spec, part, purpose)
    first = tuple(replace(one, spec=spec.text, inputs=f"{spec.argument}.x") for one in part.warm_starts)
    return replace(part, spec=spec.text, warm_starts=first)
