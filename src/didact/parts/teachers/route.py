"""One of several teachers: that of the prompt (its column `teacher`, from 1), or the surest one at each token."""

from dataclasses import replace

from didact.errors import check_choice
from didact.parts.kinds import Spec
from didact.parts.part import ForQuestions, Part
from didact.teachers.routed import RoutedTeacher

FORM = "route:HOW:TEACHERS"
EXAMPLE = "route:token:decoder:2x64+decoder:1x32"
HOW = ("prompt", "token")


def build(spec: Spec, purpose: ForQuestions) -> Part:
    """The members, and what chooses among them."""
    check_choice(f"how, in {spec.field}={spec.text!r},", spec.argument, HOW)
    parts = [purpose.member(i).build(one) for i, one in enumerate(spec.inner[0].members)]
    return replace(
        parts[0],
        model=RoutedTeacher([part.model for part in parts], route="prompt" if spec.argument == "prompt" else "token"),
        spec=spec.text,
        control=any(part.control for part in parts),
        warm_starts=tuple(one for part in parts for one in part.warm_starts),
        origin=tuple(run for part in parts for run in part.origin),
        members=(),
    )
