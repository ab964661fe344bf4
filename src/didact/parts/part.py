"""What a spec is built into, and what it is built for."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import nn

from didact.parts.grammar import parse
from didact.parts.kinds import Spec, find, kinds
from didact.types import Examples

VIEW = "teacher"
"""The view of the batch that holds the tokens of a teacher that reads text in another way than the student."""


@dataclass(frozen=True, kw_only=True)
class WarmStart:
    """What a model must learn from the data's own answers before the run begins."""

    model: nn.Module
    """Trained in place."""
    spec: str
    """The spec of the part that needs it, by which it is kept for the next time."""
    rate: float
    """The learning rate."""
    steps: int = 0
    """How many steps it takes; 0 where `goal` decides, or, where both are 0, the run's `teacher_epochs`."""
    goal: float = 0.0
    """Share of the validation data, in (0, 1], on which it must be right; 0 where `steps` decide."""
    inputs: str = ""
    """The tensor of the data that stands in the place of `x`; empty for `x` itself."""
    label: str = ""
    """The tensor of the data that it learns to tell; empty for the label."""
    freeze: bool = False
    """Whether it is frozen afterwards, as a teacher is."""
    seed: int = 0
    """By which the model was drawn."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A student or a teacher, built from its spec; nothing is trained yet."""

    model: Any
    """The student, an `nn.Module`; or the teacher, which has `signal`."""
    spec: str
    """By which it can be built again; in angle brackets where it came from Python."""
    rate: float = 1e-3
    """The learning rate that suits it where none is given."""
    warm_starts: tuple[WarmStart, ...] = ()
    """What must be learned first."""
    origin: tuple[Path, ...] = ()
    """The runs that it came from."""
    control: bool = False
    """Whether it is a deliberately bad one."""
    tokenizer: Any = None
    """By which it reads text, where it brings its own."""
    target: str = ""
    """The tensor of the data that a teacher tells, where that is not the label."""
    members: tuple["Part", ...] = field(default=())
    """The parts of `A+B`, for a method that learns from several; empty where there is one."""

    def each(self) -> Iterator["Part"]:
        """Its members; itself where there is one."""
        yield from self.members or (self,)


@dataclass(frozen=True, kw_only=True)
class Purpose:
    """What a part is built for; each material has its own."""

    material: ClassVar[str] = ""
    seed: int = 0
    """The only source of randomness."""
    field: str = ""
    """What it is in the run, for messages; by default its role."""
    trust: tuple[str, ...] = ()
    """What files may ask for: code, downloads, types in a file of scikit-learn."""
    max_length: int = 128
    """Tokens that a tokenizer keeps of a text."""

    def open(self, text: str, role: str) -> Part:
        """Read a spec and build the part.

        Args:
            text: the spec.
            role: `student` or `teacher`.

        Raises:
            DidactError: It cannot be read, or does not fit what it is for.
        """
        named = replace(self, field=self.field or role)
        return named.build(parse(text, role, field=named.field))

    def build(self, spec: Spec) -> Part:
        """Build the part of a spec, and what is nested in it.

        Raises:
            DidactError: It does not fit what it is for.
        """
        kind = find(spec.role, spec.kind)
        if self.material not in kind.materials:
            fitting = [one.name for one in kinds(spec.role).values() if self.material in one.materials]
            raise spec.wrong(
                f"{kind.name} is for {' and '.join(kind.materials)}; here it is to be for {self.material}, and can be "
                f"{', '.join(fitting)}.",
            )
        return kind.load().build(spec, self)

    def with_seed(self, seed: int) -> Self:
        """The same with another seed."""
        return replace(self, seed=seed)


@dataclass(frozen=True, kw_only=True)
class ForExamples(Purpose):
    """For examples: what is built has their shape and their classes."""

    material: ClassVar[str] = "examples"
    examples: Examples
    """Training examples: they give shapes, classes, columns, and the means and deviations of the inputs."""

    def classes(self, spec: Spec) -> int:
        """How many classes a teacher that speaks of classes must know.

        Raises:
            ConfigError: The data are a regression.
        """
        if self.examples.task != "classification":
            raise spec.wrong("it errs about classes, and the data are a regression.")
        return len(self.examples.classes)


@dataclass(frozen=True, kw_only=True)
class ForQuestions(Purpose):
    """For questions: what is built is a language model."""

    material: ClassVar[str] = "questions"
    dtype: torch.dtype = torch.float32
    """Of the weights."""
    student: Any = None
    """The language model that a teacher is to teach, whose tokenizer and head say what it must speak of."""

    def classes(self, spec: Spec) -> int:
        """How many tokens a teacher that speaks of tokens must know.

        Raises:
            ConfigError: There is no student to tell.
        """
        if self.student is None:
            raise spec.wrong("it speaks of the student's tokens, and there is no student.")
        return self.student.head.vocabulary


def tokenizer_of(spec: Spec, max_length: int) -> Any:
    """The tokenizer that a student of examples brings along; None for one that reads bytes.

    Args:
        spec: the student's.
        max_length: tokens that are kept of a text.
    """
    modules = ((one, find(one.role, one.kind).load()) for one in spec.walk())
    made = (module.tokenizer(one, max_length) for one, module in modules if hasattr(module, "tokenizer"))
    return next(made, None)
