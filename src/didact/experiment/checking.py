"""What prepare refuses and the doctor shows: one list of checks."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

from didact.errors import ConfigError, DataError, DidactError, TeacherError
from didact.types import Batch, Method

Level = Literal["ok", "warn", "fail"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    level: Level
    name: str
    detail: str
    """What was found, as a sentence."""
    error: DidactError | None = None
    """What is raised where the check fails and a run was to begin."""

    def refuse(self) -> None:
        """Raise what the check found, where it failed.

        Raises:
            DidactError: its own error; a `ConfigError` where it has none.
        """
        if self.level == "fail":
            raise self.error or ConfigError(self.detail)


def failed_check(name: str, error: DidactError) -> Check:
    """An error as a check, named after what was wrong: the data, the teacher, or else `name`."""
    kind = {DataError: "data", TeacherError: "teacher"}.get(type(error), name)
    return Check("fail", kind, str(error), error)


def run_checks(stages: Mapping[str, Callable[[T], Iterable[Check] | None]], subject: T) -> Iterator[Check]:
    """The checks of several stages, one after the other.

    Args:
        stages: by name, each gives checks, or none; one that raises a `DidactError` ends with a failing check.
        subject: what they look at.
    """
    for name, stage in stages.items():
        try:
            yield from stage(subject) or ()
        except DidactError as error:
            yield failed_check(name, error)


def gradient_check(method: Method, batch: Batch, words: str) -> Check:
    """Whether the first loss is finite and moves something; the gradients are forgotten afterwards.

    Args:
        method: in training mode.
        batch: as it is trained on.
        words: what is known of the student.
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
    found = f"{words}; the first loss is {first:.3g}, and {moved:,} trained parameters get a gradient."
    return Check("ok" if moved else "fail", "student", found)
