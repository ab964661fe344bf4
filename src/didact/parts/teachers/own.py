"""A custom teacher: a function or class that returns a teacher, a module or an estimator.

It is called with the same arguments as a custom student, and is not trained here.
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
    """The object that the factory returns, as a teacher."""
    with seeded_init(purpose.seed):
        made = call(spec, purpose)
    return teacher_of(made, purpose, spec=spec.text)
