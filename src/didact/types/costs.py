"""The cost of teaching, and which part of a run incurred it."""

import dataclasses
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from didact.documents import State
from didact.errors import ConfigError
from didact.types.place import Place


@dataclass(slots=True)
class Cost:
    """The resources that teaching used: counted, never estimated."""

    labels: int = 0
    """Distinct labelled examples that training or model selection read."""
    teacher_calls: int = 0
    """Examples that a teacher was queried on (signals from a cache are not counted again)."""
    teacher_tokens: int = 0
    """Tokens that a teacher read or wrote."""
    student_tokens: int = 0
    """Tokens of the batches that the student was trained on."""
    money: float = 0.0
    """What the servers of teachers and judges cost, in the unit of the prices that were given."""
    sampled_tokens: int = 0
    """Tokens sampled for its training: completions of the student, and of a teacher."""
    env_steps: int = 0
    """Steps taken in environments."""
    examples: int = 0
    """Training examples seen, repeats included."""
    steps: int = 0
    """Optimizer steps."""
    flops: int = 0
    """Floating-point operations of the matrix products and convolutions of the student's training, measured once for
    each shape of a batch; those of teachers are not included."""
    seconds: float = 0.0
    """Wall-clock time of training, without evaluation of the finished student."""
    peak_memory: int = 0
    """Bytes: the highest resident memory of the process, or memory allocated on the device where there is one."""

    def __add__(self, other: "Cost") -> "Cost":
        """Add up two costs; peak memory is the larger of the two."""
        total = Cost(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in dataclasses.fields(self)})
        total.peak_memory = max(self.peak_memory, other.peak_memory)
        return total

    @classmethod
    def of(cls, figures: Mapping[str, object]) -> "Cost":
        """Build a cost from the result of `as_dict`.

        Raises:
            ValueError: a figure is unknown, missing, or not a number of at least 0.
        """
        found, known = cls(), {field.name for field in dataclasses.fields(cls)}
        # Runs of before servers could teach have no money.
        for name in known ^ (figures.keys() | {"money"}):
            raise ValueError(f"{name} is {'no figure of a cost' if name in figures else 'missing'}")
        for name, value in figures.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise ValueError(f"{name} is {value!r:.40}, but must be a number of at least 0")
            setattr(found, name, value)
        return found

    def as_dict(self) -> dict[str, int | float]:
        """The figures by name, ready for JSON."""
        return dataclasses.asdict(self)

    def spent(self) -> dict[str, int | float]:
        """The figures that are not zero, by name."""
        return {axis: amount for axis, amount in self.as_dict().items() if amount}


class LabelsSpentError(Exception):
    """Reading further labels would exceed the ledger's limit; it ends a run, and is no error of the user's."""


class Ledger:
    """The cost of a run so far, in total and by part; `Stateful`.

    Args:
        labels: how many distinct labels may be read; None for any number.
    """

    def __init__(self, labels: int | None = None) -> None:
        self.labels = labels
        self.cost = Cost()
        """The sums."""
        self.parts: defaultdict[str, Cost] = defaultdict(Cost)
        """The cost that each part charged, by its name."""
        self._known: set[int] = set()
        self.open = True
        """Whether charges are recorded: the cost of evaluation is no part of teaching."""
        self._held: list[tuple[str, float, str]] | None = None

    def charge(self, axis: str, amount: float, by: str) -> None:
        """Record what a part spends.

        Args:
            axis: a field of `Cost`.
            amount: how much.
            by: the part's name.

        Raises:
            ConfigError: there is no such axis.
        """
        if self._held is not None:
            self._held.append((axis, amount, by))
        elif self.open:
            for cost in (self.cost, self.parts[by]):
                try:
                    setattr(cost, axis, getattr(cost, axis) + amount)
                except AttributeError:
                    axes = ", ".join(f.name for f in dataclasses.fields(Cost))
                    raise ConfigError(f"{by or 'A part'} charges {axis!r}, but what is spent is {axes}.") from None

    def read(self, ids: Sequence[int], by: str, *, each: Sequence[int] | None = None) -> None:
        """Charge the labels of those examples that were not read before.

        Args:
            ids: the ids of the examples.
            by: the part's name.
            each: how many labels each of them has; one by default.

        Raises:
            LabelsSpentError: the limit would be exceeded; nothing is charged then.
        """
        fresh = set(ids) - self._known
        if not fresh or not self.open:
            return
        held = {} if each is None else dict(zip(ids, each, strict=True))
        amount = sum(held[i] for i in fresh) if held else len(fresh)
        if self.labels is not None and self.cost.labels + amount > self.labels:
            raise LabelsSpentError(
                f"The budget allows {self.labels} labels; {self.cost.labels} were read, and {amount} more come next."
            )
        self._known |= fresh
        self.charge("labels", amount, by)

    @contextmanager
    def gather_charges(self, place: Place) -> Iterator[None]:
        """Record, in every process, the charges of all of them in this context, since each queries for its own rows."""
        self._held = held = []
        try:
            yield
        finally:
            self._held = None
        for charges in place.gather_objects(held):
            for axis, amount, by in charges:
                self.charge(axis, amount, by)

    def state_dict(self) -> State:
        """The totals, those of each part, and the sorted ids (int64) of the examples whose labels were read."""
        return {
            "cost": self.cost.as_dict(),
            "parts": {by: cost.as_dict() for by, cost in self.parts.items()},
            "labels": torch.tensor(sorted(self._known), dtype=torch.int64),
        }

    def load_state_dict(self, state: State, /) -> None:
        """Restore the result of `state_dict`, in place: `cost` stays the same object."""
        for axis, amount in Cost.of(state["cost"]).as_dict().items():
            setattr(self.cost, axis, amount)
        self.parts.clear()
        self.parts.update({by: Cost.of(spent) for by, spent in state["parts"].items()})
        self._known = set(state["labels"].tolist())
