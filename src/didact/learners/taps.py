"""The layers of student and teacher that a method compares."""

from dataclasses import dataclass

from didact.learners.module import HIDDEN


@dataclass(frozen=True, kw_only=True)
class TapConfig:
    """Options of methods that compare one layer of the student with one of the teacher."""

    student_tap: str = HIDDEN  # the student's layer, by module name; "hidden" is what its head is given
    teacher_tap: str = HIDDEN  # the teacher's layer, by module name; "hidden" is what its head is given
