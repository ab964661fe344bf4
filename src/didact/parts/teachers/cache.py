"""A teacher's stored answers, by the directory that `didact cache build` made; nobody is asked for what is missing."""

from pathlib import Path
from typing import Any

from didact.documents import Document
from didact.errors import TeacherError
from didact.memory.signal_store import SignalStore
from didact.parts.kinds import Spec
from didact.parts.part import ForExamples, ForQuestions, Part
from didact.teachers import StoredTeacher, TranslatedTeacher, identity
from didact.types import Scale

FORM = "cache:DIRECTORY"
EXAMPLE = "cache:answers"
PATHS = ("*/store.json",)


def build(spec: Spec, purpose: ForExamples | ForQuestions) -> Part:
    """The stored answers, in the unit of the data if they are numbers."""
    store = open_store(spec, purpose)
    teacher: Any = StoredTeacher(store)
    if isinstance(purpose, ForExamples) and purpose.examples.scale is not None:
        own = store.facts["scale"]
        teacher = TranslatedTeacher(teacher, scale=purpose.examples.scale, own=None if own is None else Scale(*own))
    return Part(model=teacher, spec=spec.text)


def open_store(spec: Spec, purpose: ForExamples | ForQuestions) -> SignalStore:
    """The store of a spec.

    Raises:
        DataError: a shard is not what was written.
        TeacherError: it is of other data, other classes or another tokenizer; the message says which.
    """
    # A run is not taught by what was altered: all checksums are compared first.
    store = SignalStore(Path(spec.argument), verify=True)
    for name, value in _wanted(purpose).items():
        theirs = store.facts.get(name)
        if theirs != value:
            raise TeacherError(
                f"{spec.subject}, a cache whose {name} is {_short(theirs)}, but here it is {_short(value)}; its "
                "answers would mean something else. Build a cache with `didact cache build` for this run."
            )
    return store


def _wanted(purpose: ForExamples | ForQuestions) -> Document:
    """What a store must be of."""
    if isinstance(purpose, ForExamples):
        examples = purpose.examples
        classes = list(examples.classes) if examples.task == "classification" else []
        data = {"name": examples.name, "fingerprint": purpose.fingerprint()}
        return {"unit": "example", "task": examples.task, "classes": classes, "data": data}
    known = {} if purpose.student is None else {"tokenizer": identity.of_tokenizer(purpose.student.tokenizer)}
    return {"unit": "token", **known}


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
