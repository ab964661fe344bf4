"""Checks of a run, which `prepare` enforces and the doctor shows."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

from didact.errors import ConfigError, DataError, DidactError, TeacherError
from didact.types import Batch, Method

Level = Literal["pass", "warn", "fail"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check."""

    level: Level
    name: str
    detail: str
    """The finding, as a sentence."""
    error: DidactError | None = None
    """The error of a failed check, raised before a run starts."""

    def refuse(self) -> None:
        """Raise the error of a failed check.

        Raises:
            DidactError: Its own error; a `ConfigError` if it has none.
        """
        if self.level == "fail":
            raise self.error or ConfigError(self.detail)


def failed_check(name: str, error: DidactError) -> Check:
    """An error as a failed check, named after its kind: `data`, `teacher`, or else `name`."""
    kind = {DataError: "data", TeacherError: "teacher"}.get(type(error), name)
    return Check("fail", kind, str(error), error)


def run_checks(stages: Mapping[str, Callable[[T], Iterable[Check] | None]], subject: T) -> Iterator[Check]:
    """Run the checks of several stages in order.

    Args:
        stages: by name; each gives checks, or none; one that raises a `DidactError` ends with a failed check.
        subject: the argument of the stages.
    """
    for name, stage in stages.items():
        try:
            yield from stage(subject) or ()
        except DidactError as error:
            yield failed_check(name, error)


def gradient_check(method: Method, batch: Batch, words: str) -> Check:
    """Check that the first loss is finite and has gradients, which are cleared afterwards.

    Args:
        method: the method, in training mode.
        batch: a training batch.
        words: a description of the student.
    """
    loss = method.loss(batch).total()
    if loss.requires_grad:
        loss.backward()
    first = float(loss.detach())
    gradients = [p.grad for p in method.parameters()]
    finite = math.isfinite(first) and all(bool(g.isfinite().all()) for g in gradients if g is not None)
    moved = sum(p.numel() for p, g in zip(method.parameters(), gradients, strict=True) if g is not None and g.any())
    for parameter in method.parameters():
        parameter.grad = None
    if not finite:
        return Check("fail", "student", f"The first loss is {first:g} or its gradient is not finite; check the inputs.")
    if not moved:
        found = f"{words}; the first loss is {first:.3g}, and no parameter gets a gradient; unfreeze some."
        return Check("fail", "student", found)
    found = f"{words}; the first loss is {first:.3g}, and {moved:,} trained parameters get a gradient."
    return Check("pass", "student", found)
