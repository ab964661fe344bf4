"""A custom verifier: a function of a text and a `Question` that returns a number, or a `Verifier`."""

from didact.errors import TeacherError
from didact.parts.kinds import Spec
from didact.parts.own import import_object
from didact.teachers.verifiers import FunctionVerifier, Verifier

FORM = "package.module:function"
EXAMPLE = "my_package.rewards:reward"
NAMES = "code"


def build(spec: Spec) -> Verifier:
    """The imported object as a verifier."""
    found = import_object(spec)
    if isinstance(found, Verifier):
        return found
    try:
        return FunctionVerifier(found, name=spec.argument)
    except TeacherError as error:
        raise spec.error(str(error)) from None
