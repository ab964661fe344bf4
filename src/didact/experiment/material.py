"""A run before its first step, and the interface of a material that it is assembled from."""

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar

from didact.catalogue import MethodInfo
from didact.documents import Document, Values
from didact.errors import ConfigError
from didact.evaluation import ArmResult
from didact.experiment.checking import Check
from didact.experiment.config import RunConfig
from didact.experiment.pretraining import Pretraining
from didact.loop.ledger import spenders
from didact.parts.part import Part, WarmStart
from didact.teachers import CachedTeacher, Verifier
from didact.types import Batch, Cost, Method, Place, Source, Spender


@dataclass(frozen=True)
class Objects:
    """Python objects that replace specs."""

    data: object = None
    student: object = None
    teacher: object = None
    verifier: Any = None

    def names(self) -> dict[str, str]:
        """The names of the given objects by field, each in angle brackets."""
        there = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {name: f"<{_name_of(thing)}>" for name, thing in there.items() if thing is not None}


def _name_of(thing: object) -> str:
    named = getattr(thing, "name", "") or getattr(thing, "__name__", "") or type(thing).__name__
    return str(named).strip("<>")


class Data(Protocol):
    """The data of a run: loaded and split, with the labels that the student may see."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that the data allow, the usual one first."""
        ...

    @property
    def duplicates(self) -> tuple[str, ...]:
        """Sentences on items that are in two splits."""
        ...

    @property
    def fingerprint(self) -> str:
        """A fingerprint that identifies the data."""
        ...

    def describe(self) -> Document:
        """Name, fingerprint and sizes of the data."""
        ...

    def checks(self, config: RunConfig) -> Iterator[Check]:
        """Checks of the data."""
        ...


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The metrics of a finished run."""

    metrics: dict[str, float]
    """The metrics on the test data."""
    validation: dict[str, float]
    teacher: dict[str, float]
    """The teacher's own metrics, and the student's agreement with it; empty without one."""
    teacher_seen: int | None = 0
    """How many test examples the teacher was fitted on; None if that is not known."""
    teacher_unseen: dict[str, float] = field(default_factory=dict)
    """The teacher's metrics on the other test examples, and the student's as `student/NAME`, if it has seen some."""
    constant: dict[str, float] = field(default_factory=dict)
    """The metrics of a constant answer: the commonest class or the mean; empty if there is none."""
    committee: Document = field(default_factory=dict)
    """What each member of a committee taught, and what it is worth; empty without one."""
    diagnostics: Document = field(default_factory=dict)
    """Data for the figures of the report."""
    labels: int = 0
    """Labels that were used to select the weights."""


class Evaluator(Protocol):
    """Evaluates the student of a run."""

    metric: str
    """The metric that selects the best weights; empty if there is none."""
    validates: bool
    """Whether the student can be evaluated during training."""
    metrics: tuple[str, ...]
    """The metrics of a finished run."""
    held_out: Batch | None
    """Some labelled validation examples, for monitors of labels; None where there are no classes."""
    held_in: Batch | None
    """Some labelled training examples, for the same."""

    def validate(self, student: Any) -> dict[str, float]:
        """Metrics of a student on validation data, during training."""
        ...

    def test(self) -> Evaluation:
        """Metrics of the delivered student on test data."""
        ...

    def notes(self, evaluation: Evaluation) -> Iterator[str]:
        """Notes for a reader of the figures, besides those of every run."""
        ...


D = TypeVar("D", bound=Data)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """All that a teacher can be asked about in a run's data, in batches that are always the same."""

    unit: Literal["example", "token"]
    """What it has a signal for: each example, or each token of a sequence."""
    batches: Sequence[Callable[[], Batch]]
    """Each makes a batch."""
    facts: Document
    """What the data must have in common with those of another run for the signals to mean the same."""


@dataclass(frozen=True, kw_only=True)
class Material(Generic[D]):
    """A kind of run: how its data are loaded, its parts built, and its student evaluated."""

    name: str
    """The name in feeds, which is also its folder in `materials/`."""
    log_every: int
    """Steps between readings of the losses."""
    clip_norm: float
    """The default of `LoopConfig.clip_norm`."""
    weight_decay: float
    """The default of `OptimizerConfig.weight_decay`."""
    open: Callable[[RunConfig, object], D]
    """Loads and splits the data; the second argument is data from Python that replace `config.data.source`."""
    reads: Callable[[RunConfig], str]
    """Runs with an equal value can share their data, if seed and splits are equal too."""
    student: Callable[["Run[D]"], Part]
    """Builds the student from its spec, or from Python; the run has no parts yet."""
    teacher: Callable[["Run[D]"], Part]
    """Builds the teacher from its spec, or from Python; several are its members."""
    verifier: Callable[["Run[D]"], Verifier | None]
    """Builds the verifier of the student's completions, if any."""
    extend_data: Callable[["Run[D]"], D]
    """Adds the inputs of the teachers to the data, such as tokens."""
    ingredients: Callable[["Run[D]"], Values]
    """The arguments for the constructor of a method, by the names of its parameters."""
    source: Callable[["Run[D]"], Source]
    """The batches."""
    asked: Callable[["Run[D]"], Asked]
    """All batches of all splits, for a teacher whose signals are to be stored."""
    pretraining: Callable[["Run[D]", str, WarmStart], Pretraining]
    """Plans the warm start of the part with a role."""
    evaluator: Callable[["Run[D]"], Evaluator]
    """Evaluates the run."""
    refusals: Callable[["Run[D]"], Iterator[Check]]
    """The checks before every run; those after a failed one are not made."""
    trials: Callable[["Run[D]"], Iterator[Check]]
    """Additional checks of the doctor, without training."""
    deliver: Callable[["Run[D]"], Any]
    """The delivered student, ready for use."""
    save: Callable[["Run[D]", Path], None]
    """Writes the delivered student into the run's directory."""
    baselines: Callable[[D, RunConfig], tuple[str, ...]]
    """The cheap baselines that fit the data, the cheapest first."""
    baseline: Callable[[str, D, RunConfig], ArmResult]
    """Evaluates a cheap baseline."""
    method_type: Callable[["Run[D]"], Callable[..., Method]] = lambda run: run.info.method_type
    """The class of the method, as the data need it."""


def remarks_of(adviser: object) -> list[str]:
    """What a teacher or judge behind a server took, and how often it abstained; nothing of others."""
    return getattr(adviser, "remarks", list)()


@dataclass
class Run(Generic[D]):
    """An assembled run. Its method, source and evaluator are built on first access."""

    config: RunConfig
    """The configuration with all defaults resolved."""
    info: MethodInfo
    options: Any
    """The method's `Config`."""
    material: Material[D]
    data: D
    objects: Objects = field(default_factory=Objects)
    """The given Python objects."""
    student: Part = field(init=False)
    teachers: tuple[Part, ...] = ()
    """The teachers; several for methods that learn from several."""
    verifier: Verifier | None = None
    teacher_cost: Cost = field(default_factory=Cost)
    """The cost of training parts before the run."""
    place: Place = field(default_factory=Place)
    """The device and rank of this process; the first process writes and evaluates."""

    @cached_property
    def source(self) -> Source:
        """The batches."""
        return self.material.source(self)

    @cached_property
    def method(self) -> Method:
        """The method, built from the parts that its constructor's parameters name.

        Raises:
            ConfigError: It requires an unknown part, or refuses what it is given.
        """
        there = self.material.ingredients(self)
        wanted = list(inspect.signature(self.info.method_type.__init__).parameters.values())[2:]
        lacking = [p.name for p in wanted if p.default is p.empty and p.name not in there]
        if lacking:
            raise ConfigError(
                f"The method {self.info.name!r} requires {', '.join(lacking)}; a method of {self.material.name} can "
                f"have {', '.join(there)}."
            )
        optional = {p.name for p in wanted if p.default is not p.empty}
        named = {p.name: there[p.name] for p in wanted if p.name in there}
        made = self.material.method_type(self)(
            self.options, **{name: part for name, part in named.items() if part is not None or name not in optional}
        )
        for part in named.values():
            # Signals that the constructor computed are not part of the run. A cache in the run's own is the user's.
            cache = part if isinstance(part, CachedTeacher) else getattr(part, "teacher", None)
            if isinstance(cache, CachedTeacher):
                cache.forget()
        return made

    @cached_property
    def evaluator(self) -> Evaluator:
        """The evaluator of the run."""
        return self.material.evaluator(self)

    def argument(self, name: str) -> object:
        """The value of a part: a Python object, or its spec."""
        found = getattr(self.objects, name)
        return getattr(self.config, name) if found is None else found

    @property
    def teacher(self) -> Any | None:
        """The only teacher, without its cache; None if there is none, or several."""
        return self.teachers[0].model if len(self.teachers) == 1 else None

    @property
    def priced(self) -> bool:
        """Whether an answer of a teacher costs something, so that only training asks it, and no evaluation."""
        return any(getattr(part, "priced", False) for part in self.advisers)

    @property
    def advisers(self) -> list[Spender]:
        """The teachers and the verifier, with those that they hold."""
        teachers = {str(number): teacher.model for number, teacher in enumerate(self.teachers)}
        return [part for _, part, _ in spenders({**teachers, "verifier": self.verifier})]

    @property
    def parts(self) -> dict[str, Part]:
        """The student and the teachers by their roles: `student`, `teacher`, `teacher 2` and so on."""
        names = ["teacher", *(f"teacher {number}" for number in range(2, len(self.teachers) + 1))]
        return {"student": self.student, **dict(zip(names, self.teachers, strict=False))}

    def reassemble(self) -> None:
        """Discard method, source and evaluator, which are then rebuilt from the current parts."""
        for name in ("method", "source", "evaluator"):
            self.__dict__.pop(name, None)
