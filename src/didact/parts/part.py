"""Parts that are built from specs, and the purposes that they are built for."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import nn

from didact import hashing
from didact.parts.grammar import parse
from didact.parts.kinds import Spec, find, kinds
from didact.types import Cost, Examples

VIEW = "teacher"
"""The view of a batch with the tokens of a teacher whose tokenizer differs from the student's."""


@dataclass(frozen=True, kw_only=True)
class WarmStart:
    """Training of a model on the data's labels or completions before the run."""

    model: nn.Module
    """Trained in place."""
    spec: str
    """The spec of the part, by which the trained model is cached."""
    rate: float
    """The learning rate."""
    steps: int = 0
    """The number of steps; 0 if `goal` decides, or, if both are 0, the run's `teacher_epochs`."""
    goal: float = 0.0
    """Accuracy on the validation data, in (0, 1], at which it stops; 0 if `steps` decide."""
    inputs: str = ""
    """The tensor of the data that replaces `x`; empty for `x` itself."""
    label: str = ""
    """The tensor of the data that it learns to predict; empty for the label."""
    freeze: bool = False
    """Whether it is frozen afterwards, as for a teacher."""
    seed: int = 0
    """The seed of the model's initial weights."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A student or a teacher, built from its spec; nothing is trained yet."""

    model: Any
    """The student, an `nn.Module`; or the teacher, which has `signal`."""
    spec: str
    """The spec that builds it again; in angle brackets if it came from Python."""
    rate: float = 1e-3
    """The default learning rate."""
    warm_starts: tuple[WarmStart, ...] = ()
    """The training before the run."""
    settles: tuple[Callable[[torch.device], Cost], ...] = ()
    """What remains to be done once the warm starts are trained, such as measuring the members of a committee. Each
    takes the device, and returns what it spent."""
    origin: tuple[Path, ...] = ()
    """The runs that it comes from."""
    control: bool = False
    """Whether it is a control, a deliberately bad teacher."""
    tokenizer: Any = None
    """Its own tokenizer, if any."""
    target: str = ""
    """The tensor of the data that a teacher predicts, if not the label."""
    members: tuple["Part", ...] = field(default=())
    """The parts of `A+B`, for a method that learns from several; empty if there is one."""

    def each(self) -> Iterator["Part"]:
        """Its members; the part itself if there is one."""
        yield from self.members or (self,)


@dataclass(frozen=True, kw_only=True)
class Purpose:
    """The purpose that a part is built for; each material has its own."""

    material: ClassVar[str] = ""
    seed: int = 0
    """The only source of randomness."""
    field: str = ""
    """The name of the option, for messages; by default its role."""
    trust: tuple[str, ...] = ()
    """Code, downloads, and types in .skops files that untrusted files may use."""
    max_length: int = 128
    """Maximal number of tokens of a text."""

    def open(self, text: str, role: str) -> Part:
        """Read a spec and build the part.

        Args:
            text: the spec.
            role: `student` or `teacher`.

        Raises:
            DidactError: It cannot be read, or does not fit the purpose.
        """
        named = replace(self, field=self.field or role)
        return named.build(parse(text, role, field=named.field))

    def build(self, spec: Spec) -> Part:
        """Build the part of a spec, with its nested parts.

        Raises:
            DidactError: It does not fit the purpose.
        """
        kind = find(spec.role, spec.kind)
        if self.material not in kind.materials:
            fitting = [one.name for one in kinds(spec.role).values() if self.material in one.materials]
            raise spec.error(
                f"{kind.name} is for {' and '.join(kind.materials)}; here it is to be for {self.material}, and can be "
                f"{', '.join(fitting)}.",
            )
        return kind.load().build(spec, self)

    def member(self, number: int) -> Self:
        """The purpose of one of several parts: the first, whose number is 0, has this seed, and others their own."""
        return replace(self, seed=hashing.stream(self.seed, f"part {number}")) if number else self


@dataclass(frozen=True, kw_only=True)
class ForExamples(Purpose):
    """Parts for examples, with their shape and their classes."""

    material: ClassVar[str] = "examples"
    examples: Examples
    """Training examples, which give shapes, classes, columns, and means and standard deviations of the inputs."""
    validation: Callable[[], Examples] | None = None
    """Returns the validation examples with a label, on which a committee measures its members; None if unknown."""
    student: Any = None
    """The student that a teacher teaches, for teachers that are asked only where it needs them."""
    fingerprint: Callable[[], str] = str
    """Computes the fingerprint of all the data, which tells a teacher's stored answers from those to others."""

    def classes(self, spec: Spec) -> int:
        """The number of classes that a teacher predicts.

        Raises:
            ConfigError: The data are a regression.
        """
        if self.examples.task not in ("classification", "segmentation"):
            raise spec.error("it needs classes, and the data are a regression.")
        return len(self.examples.classes)


@dataclass(frozen=True, kw_only=True)
class ForQuestions(Purpose):
    """Parts for questions, which are language models."""

    material: ClassVar[str] = "questions"
    dtype: torch.dtype | None = None
    """The dtype of the weights; None for the stored one, see `didact.learners.hub_causal.load_model`."""
    student: Any = None
    """The language model that a teacher teaches, whose tokenizer and head define the token ids."""

    def classes(self, spec: Spec) -> int:
        """The number of token ids that a teacher predicts.

        Raises:
            ConfigError: There is no student.
        """
        if self.student is None:
            raise spec.error("it predicts the student's tokens, and there is no student.")
        return self.student.head.vocabulary


def brought_by(spec: Spec, max_length: int) -> tuple[Any, Examples | None]:
    """What a student of examples brings along, by which data are read.

    Args:
        spec: the student's.
        max_length: the number of tokens that a tokenizer keeps of a text.

    Returns:
        Its tokenizer, None for one that reads bytes; and two blank examples of the kind that it was taught on before,
        None for one that was not.

    Raises:
        CheckpointError: What it was taught on cannot be read.
    """
    modules = [(one, find(one.role, one.kind).load()) for one in spec.walk()]
    tokenizers = (module.tokenizer(one, max_length) for one, module in modules if hasattr(module, "tokenizer"))
    taught = (module.taught_on(one) for one, module in modules if hasattr(module, "taught_on"))
    return next(tokenizers, None), next(taught, None)
