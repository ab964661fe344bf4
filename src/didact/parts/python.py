"""Students and teachers that are given as Python objects instead of specs."""

import copy
from collections.abc import Callable
from typing import Any, cast

from torch import nn

from didact.errors import ConfigError, TeacherError
from didact.learners import CausalLearner, ModuleLearner
from didact.learners.maps import PixelNet
from didact.parts.part import ForExamples, ForQuestions, Part, Purpose
from didact.parts.students import hf
from didact.parts.students._drawing import seeded_init
from didact.teachers import (
    Committee,
    EstimatorTeacher,
    FrozenTeacher,
    FunctionTeacher,
    LanguageTeacher,
    RawRows,
    reader_of,
    translate,
)
from didact.types import Teacher


def student_of(given: object, purpose: Purpose) -> Part:
    """A student from its spec, a module, or a function that returns one.

    Args:
        given: a spec, an `nn.Module`, or a function without arguments.
        purpose: the purpose of the part.

    Raises:
        DidactError: It does not fit the purpose.
    """
    if isinstance(given, str):
        return purpose.open(given, "student")
    with seeded_init(purpose.seed):
        module = given() if callable(given) and not isinstance(given, nn.Module) else given
    wanted = CausalLearner if isinstance(purpose, ForQuestions) else nn.Module
    if not isinstance(module, wanted):
        raise ConfigError(
            f"{purpose.field or 'student'} gives {type(module).__name__}, but must be a spec, {wanted.__name__}, or a "
            "function that returns one."
        )
    return Part(
        model=_on_pixels(module, purpose),
        spec=f"<{type(given).__name__}>",
        rate=hf.rate_of(module) if isinstance(module, CausalLearner) else 1e-3,
    )


def _on_pixels(module: nn.Module, purpose: Purpose) -> nn.Module:
    """A module as a learner, of pixels where the data have masks."""
    masks = isinstance(purpose, ForExamples) and purpose.examples.task == "segmentation"
    return (
        ModuleLearner(PixelNet(module), head=None)
        if masks and not isinstance(module, ModuleLearner)
        else as_student(module)
    )


def as_student(module: nn.Module) -> nn.Module:
    """A module as a learner; a learner is returned unchanged."""
    return module if isinstance(module, ModuleLearner | CausalLearner) else ModuleLearner(module)


def teacher_of(given: Any, purpose: Purpose, *, spec: str = "") -> Part:
    """A teacher from its spec, or from Python.

    Args:
        given: a spec; an object with `signal`, a module, an estimator, a function (see `FunctionTeacher`), or a list of
            several.
        purpose: the purpose of the part.
        spec: the spec that builds it again, if any.

    Raises:
        DidactError: It cannot teach, or does not fit the purpose.
    """
    if isinstance(given, str):
        return purpose.open(given, "teacher")
    named = spec or f"<{type(given).__name__}>"
    if isinstance(given, list | tuple):
        if not given:
            raise TeacherError(f"{purpose.field or 'teacher'} is an empty list; give one teacher or more.")
        members = tuple(teacher_of(one, purpose) for one in given)
        teacher = members[0].model if len(members) == 1 else Committee([one.model for one in members])
        settles = tuple(settle for one in members for settle in one.settles)
        return Part(model=teacher, spec=named, members=members, settles=settles)
    if hasattr(given, "signal"):
        scale = purpose.examples.scale if isinstance(purpose, ForExamples) else None
        return Part(model=translate(cast(Teacher, given), scale), spec=named, tokenizer=_tokenizer(given))
    if isinstance(given, CausalLearner):
        return Part(model=LanguageTeacher(given), spec=named, tokenizer=given.tokenizer)
    if isinstance(purpose, ForExamples) and isinstance(given, nn.Module):
        teacher = translate(FrozenTeacher(_on_pixels(given, purpose)), purpose.examples.scale)
        return Part(model=teacher, spec=named)
    estimates = hasattr(given, "predict_proba") or hasattr(given, "predict")
    if isinstance(purpose, ForExamples) and (estimates or callable(given)) and not isinstance(given, type):
        examples = purpose.examples
        kind = cast(Callable[..., Teacher], EstimatorTeacher if estimates else FunctionTeacher)
        rows = RawRows(examples) if examples.modality == "table" else None
        teacher = kind(given, classes=examples.classes, rows=rows, task=examples.task)
        return Part(model=translate(teacher, examples.scale, reader_of(examples)), spec=named)
    if isinstance(given, type):
        raise TeacherError(f"{purpose.field or 'teacher'} is the class {given.__name__}; give an instance of it.")
    models = (
        "an nn.Module, an estimator with predict_proba, a function of the rows"
        if isinstance(purpose, ForExamples)
        else "a CausalLearner"
    )
    raise TeacherError(
        f"{purpose.field or 'teacher'} is {type(given).__name__}, which cannot teach; give a spec, {models}, or an "
        "object with signal(batch)."
    )


def _tokenizer(teacher: object) -> Any:
    return getattr(teacher, "tokenizer", None) or getattr(getattr(teacher, "learner", None), "tokenizer", None)


class Spawn:
    """Makes freshly initialised students of the run's kind, or of another one.

    Every call uses a seed of its own, which depends only on the purpose's seed and the number of the call.

    Args:
        student: the student's spec; or from Python a module, or a function that returns a module.
        purpose: the purpose of the students.
    """

    def __init__(self, student: Any, purpose: ForExamples) -> None:
        self.student, self.purpose, self.calls = student, purpose, 0

    def __call__(self, spec: str = "") -> nn.Module:
        """Another student with fresh weights, without the warm start of the run's.

        Args:
            spec: the spec of another kind; empty for the student's.

        Raises:
            ConfigError: The student is a module that cannot be reinitialised.
        """
        self.calls += 1
        purpose = self.purpose.member(self.calls)
        given = spec or self.student
        with seeded_init(purpose.seed):
            return student_of(_reset(given) if isinstance(given, nn.Module) else given, purpose).model


def _reset(module: nn.Module) -> nn.Module:
    """A copy with fresh weights, by the `reset_parameters` of its modules."""
    fresh = copy.deepcopy(module)
    for name, part in fresh.named_modules():
        reset = getattr(part, "reset_parameters", None) or getattr(part, "_reset_parameters", None)
        if callable(reset):
            reset()
        elif next(part.parameters(recurse=False), None) is not None:
            raise ConfigError(
                f"student has a module {name or type(part).__name__!r} that cannot be reinitialised, as it has no "
                "reset_parameters; give the student as a function that returns a new module."
            )
    return fresh
