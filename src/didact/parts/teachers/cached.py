"""A teacher behind the cache that was built of its answers; what is missing there is asked for, and added."""

from dataclasses import replace
from pathlib import Path

from didact.errors import TeacherError
from didact.parts.kinds import Spec
from didact.parts.part import ForExamples, ForQuestions, Part
from didact.parts.teachers.cache import open_store
from didact.teachers import StoredTeacher, identity

FORM = "cached:DIRECTORY:TEACHER"
EXAMPLE = "cached:answers:runs/NAME"


def build(spec: Spec, purpose: ForExamples | ForQuestions) -> Part:
    """The teacher, and its stored answers.

    Raises:
        TeacherError: The answers are another teacher's, or it is trained in this run.
    """
    store, inner = open_store(spec, purpose), spec.inner[0]
    part = purpose.build(inner)
    if part.warm_starts:
        raise TeacherError(
            f"{spec.subject}, whose teacher is trained in each run anew, so that no stored answers are its own; give "
            "one that is trained already, or leave out the cache."
        )
    files = [Path(one.argument) for one in inner.walk()]
    mine, theirs = identity.of_teacher(part.model, files), store.facts["teacher"]
    if not mine:
        raise TeacherError(
            f"{spec.subject}, and {inner.text!r} has neither weights nor a file by which it could be told from another "
            "teacher; use cache:DIRECTORY, which asks nobody."
        )
    if mine != theirs["weights"]:
        raise TeacherError(
            f"{spec.subject}, but the cache was built from {theirs['spec']!r}, and the weights of {inner.text!r} are "
            "others. Give that teacher, or build a cache of this one."
        )
    return replace(part, model=StoredTeacher(store, teacher=part.model), spec=spec.text)
