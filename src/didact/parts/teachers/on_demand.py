"""A teacher that is asked only where the student is unsure, wrong or of another mind than before, or can learn most.

`on-demand:unsure:TEACHER` asks where the entropy of the student's answer is above half of the largest one;
`on-demand:unsure,0.2:TEACHER` above a fifth. `wrong` needs labels or rewards, `changed` compares with the last visit,
and `learnable` asks where the student is right about half of the time. See `didact.teachers.OnDemandTeacher`.
"""

from dataclasses import replace

from didact.errors import check_choice
from didact.options import convert
from didact.parts.kinds import Spec
from didact.parts.part import ForExamples, ForQuestions, Part
from didact.teachers import OnDemandTeacher
from didact.teachers.on_demand import NEEDS

FORM = "on_demand:WHEN:TEACHER"
EXAMPLE = "on_demand:unsure:cnn:32,64"
TOKENS = ("unsure", "wrong")
"""What can be known of a completion."""


def build(spec: Spec, purpose: ForExamples | ForQuestions) -> Part:
    """The teacher, behind a gate that knows the student."""
    when, _, level = spec.argument.partition(",")
    field = f"when, in {spec.field}={spec.text!r},"
    check_choice(field, when, TOKENS if isinstance(purpose, ForQuestions) else tuple(NEEDS))
    purpose.classes(spec)
    if purpose.student is None:
        raise spec.error("it is asked where a student needs it, and there is no student.")
    part = purpose.build(spec.inner[0])
    given = {"level": convert(field.replace("when", "the level"), level, float)} if level else {}
    return replace(
        part, model=OnDemandTeacher(part.model, purpose.student, when=when, **given), spec=spec.text, members=()
    )
