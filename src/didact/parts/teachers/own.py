"""Something of your own: a function or class that returns a teacher, a module or an estimator.

It is given what `package.module:factory` is given for a student, and is not trained here.
"""

from didact.parts.kinds import Spec
from didact.parts.part import ForExamples, ForQuestions, Part
from didact.parts.python import teacher_of
from didact.parts.students._drawing import seeded_init
from didact.parts.students.own import call

FORM = "package.module:factory"
EXAMPLE = "my_package.teachers:make_teacher"
NAMES = "code"


def build(spec: Spec, purpose: ForExamples | ForQuestions) -> Part:
    """What the factory returns, as a teacher."""
    with seeded_init(purpose.seed):
        made = call(spec, purpose)
    return teacher_of(made, purpose, spec=spec.text)
