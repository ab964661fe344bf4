"""A run before its first step, and what a material must say so that one can be put together."""

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from didact.catalogue import MethodInfo
from didact.documents import Document, Values
from didact.errors import ConfigError
from didact.evaluation import ArmResult
from didact.experiment.checking import Check
from didact.experiment.config import RunConfig
from didact.experiment.pretraining import Pretraining
from didact.parts.part import Part, WarmStart
from didact.teachers import CachedTeacher, Verifier
from didact.types import Cost, Method, Place, Source


@dataclass(frozen=True)
class Objects:
    """What was given from Python in the place of words."""

    data: object = None
    student: object = None
    teacher: object = None
    verifier: Any = None

    def names(self) -> dict[str, str]:
        """The names of the objects that are there, each in angle brackets, by field."""
        there = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {name: f"<{_name_of(thing)}>" for name, thing in there.items() if thing is not None}


def _name_of(thing: object) -> str:
    named = getattr(thing, "name", "") or getattr(thing, "__name__", "") or type(thing).__name__
    return str(named).strip("<>")


class Data(Protocol):
    """The data of a run: opened, split, and with the labels that the student may see."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that they allow, the usual one first."""
        ...

    @property
    def duplicates(self) -> tuple[str, ...]:
        """Sentences about items that are in two splits."""
        ...

    @property
    def fingerprint(self) -> str:
        """By what it is known that the data are the same."""
        ...

    def describe(self) -> Document:
        """The data in figures."""
        ...

    def checks(self, config: RunConfig) -> Iterator[Check]:
        """What a reader of the figures should know of them."""
        ...


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The metrics of a finished run."""

    metrics: dict[str, float]
    """On the test data."""
    validation: dict[str, float]
    teacher: dict[str, float]
    """The teacher's own figures, and how much the student agrees with it; empty without one."""
    drawn: Document = field(default_factory=dict)
    """What the report draws."""
    labels: int = 0
    """Labels that were looked at to choose the weights."""


class Evaluator(Protocol):
    """Evaluates the student of a run."""

    metric: str
    """The figure that decides which weights are the best; empty where nothing does."""
    validates: bool
    """Whether the student can be evaluated while it learns."""
    metrics: tuple[str, ...]
    """The metrics of a finished run."""

    def validate(self, student: Any) -> dict[str, float]:
        """Metrics of a student on validation data, while it learns."""
        ...

    def test(self) -> Evaluation:
        """Metrics of what the run delivers, on test data."""
        ...

    def notes(self, evaluation: Evaluation) -> Iterator[str]:
        """What a reader of the figures should know, besides what is said of every run."""
        ...


D = TypeVar("D", bound=Data)


@dataclass(frozen=True, kw_only=True)
class Material(Generic[D]):
    """A kind of run: how its data are opened, what its parts are, and how it is evaluated."""

    name: str
    """As feeds call it, and the folder of `materials/` that it lies in."""
    log_every: int
    """Steps between readings of the losses."""
    open: Callable[[RunConfig, object], D]
    """Opens and splits the data; the second argument is from Python, in the place of `config.data.source`."""
    reads: Callable[[RunConfig], str]
    """Runs for which this is the same may share their data, where they share seed and splits."""
    student: Callable[["Run[D]"], Part]
    """The student by its spec, or as it is given from Python; the run has no parts yet."""
    teacher: Callable[["Run[D]"], Part]
    """The teacher by its spec, or as it is given from Python; several are its members."""
    verifier: Callable[["Run[D]"], Verifier | None]
    """Verifies the student's answers, where there is one."""
    seen: Callable[["Run[D]"], D]
    """The data with whatever else the teachers look at."""
    ingredients: Callable[["Run[D]"], Values]
    """What the constructor of a method can ask for, by the names of its parameters."""
    source: Callable[["Run[D]"], Source]
    """The batches."""
    pretraining: Callable[["Run[D]", str, WarmStart], Pretraining]
    """How a part in a role is taught what it must have learned before the run."""
    evaluator: Callable[["Run[D]"], Evaluator]
    """Evaluates the run."""
    refusals: Callable[["Run[D]"], Iterator[Check]]
    """What every run is checked for before it begins; of a check that fails, the rest is not looked at."""
    trials: Callable[["Run[D]"], Iterator[Check]]
    """What the doctor tries out besides: nothing is trained, and little is computed."""
    keep: Callable[["Run[D]", Path], None]
    """Writes the student that a run delivers into the run's directory."""
    baselines: Callable[[D, RunConfig], tuple[str, ...]]
    """The cheap alternatives that fit the data, the cheapest first."""
    baseline: Callable[[str, D, RunConfig], ArmResult]
    """The figures of a cheap alternative."""


@dataclass
class Run(Generic[D]):
    """A run that is put together. Its method and source are made when they are first read."""

    config: RunConfig
    """With everything resolved that was left open."""
    info: MethodInfo
    options: Any
    """The method's `Config`."""
    material: Material[D]
    data: D
    objects: Objects = field(default_factory=Objects)
    """What was given from Python."""
    student: Part = field(init=False)
    teachers: tuple[Part, ...] = ()
    """Several for methods that learn from several."""
    verifier: Verifier | None = None
    teacher_cost: Cost = field(default_factory=Cost)
    """What training parts before the run has cost."""
    place: Place = field(default_factory=Place)
    """Which of how many processes this is; the first one writes and evaluates."""

    @cached_property
    def source(self) -> Source:
        """The batches."""
        return self.material.source(self)

    @cached_property
    def method(self) -> Method:
        """The method with its parts, by the names of its constructor's parameters.

        Raises:
            ConfigError: It asks for something that there isn't, or refuses what it is given.
        """
        there = self.material.ingredients(self)
        wanted = list(inspect.signature(self.info.method_type.__init__).parameters.values())[2:]
        lacking = [p.name for p in wanted if p.default is p.empty and p.name not in there]
        if lacking:
            raise ConfigError(
                f"The method {self.info.name!r} asks for {', '.join(lacking)}; a method of {self.material.name} can "
                f"have {', '.join(there)}."
            )
        optional = {p.name for p in wanted if p.default is not p.empty}
        named = {p.name: there[p.name] for p in wanted if p.name in there}
        made = self.info.method_type(
            self.options, **{name: part for name, part in named.items() if part is not None or name not in optional}
        )
        for part in named.values():
            # What a teacher said while the method looked at it is no part of the run.
            if isinstance(part, CachedTeacher):
                part.forget()
        return made

    @cached_property
    def evaluator(self) -> Evaluator:
        """Evaluates it."""
        return self.material.evaluator(self)

    def argument(self, name: str) -> object:
        """What was given for a part: an object from Python, or its spec."""
        found = getattr(self.objects, name)
        return getattr(self.config, name) if found is None else found

    @property
    def teacher(self) -> Any | None:
        """The only one, without a cache; None where there is none, or several."""
        return self.teachers[0].model if len(self.teachers) == 1 else None

    @property
    def parts(self) -> dict[str, Part]:
        """The student and the teachers by their roles: `student`, `teacher`, `teacher 2` and so on."""
        names = ["teacher", *(f"teacher {number}" for number in range(2, len(self.teachers) + 1))]
        return {"student": self.student, **dict(zip(names, self.teachers, strict=False))}

    def reassemble(self) -> None:
        """Have method and source made anew, of the parts as they are then."""
        for name in ("method", "source", "evaluator"):
            self.__dict__.pop(name, None)
