"""A teacher that is trained here on a view of the data that the student does not see."""

from dataclasses import replace

from didact.errors import TeacherError, nearest
from didact.learners import ModuleLearner
from didact.parts.kinds import Spec
from didact.parts.part import ForExamples, Part
from didact.types import Examples

FORM = "view:NAME:TEACHER"
EXAMPLE = "view:privileged:mlp:256,256"


def build(spec: Spec, purpose: ForExamples) -> Part:
    """A teacher that reads the view."""
    seen = f"{spec.argument}.x"
    part = purpose_on(spec, purpose).build(spec.inner[0])
    check_trained(spec, part, purpose)
    for one in part.warm_starts:
        assert isinstance(one.model, ModuleLearner)
        one.model.inputs = (seen,)
    return replace(part, spec=spec.text, warm_starts=tuple(replace(one, spec=spec.text) for one in part.warm_starts))


def purpose_on(spec: Spec, purpose: ForExamples) -> ForExamples:
    """The purpose with the view in place of `x`.

    Raises:
        TeacherError: The data have no such view.
    """
    examples: Examples = purpose.examples
    views = [key.removesuffix(".x") for key in examples.tensors if key.endswith(".x")]
    if spec.argument not in views:
        raise TeacherError(
            f"{spec.subject}, but the data have no view {spec.argument!r}. "
            f"{nearest(spec.argument, views)} A view is an array such as privileged.x beside x, in a .npz file or in "
            "Examples; the built-in data digits:privileged have one."
        )
    return replace(purpose, examples=examples.with_tensors(x=examples.tensors[f"{spec.argument}.x"]))


def check_trained(spec: Spec, part: Part, purpose: ForExamples) -> None:
    """Refuse a teacher that is not trained here, since it could not learn the view."""
    if not part.warm_starts:
        raise spec.error(
            f"{spec.kind} takes a teacher that is trained here, such as {spec.kind}:{spec.argument}:mlp:256,256."
        )
