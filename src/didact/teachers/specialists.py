"""Specialists for groups of classes, and access to the model inside a teacher."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from didact.errors import ConfigError, TeacherError
from didact.teachers.base import ModelTeacher
from didact.teachers.cached import CachedTeacher
from didact.teachers.committee import Committee
from didact.types import IGNORE


def unwrap(teacher: Any) -> Any:
    """The teacher inside any caches."""
    while isinstance(teacher, CachedTeacher):
        teacher = teacher.teacher
    return teacher


def committee_members(teacher: Any) -> tuple[Any, ...]:
    """The members of a committee; any other teacher is a committee of one."""
    inside = unwrap(teacher)
    return inside.teachers if isinstance(inside, Committee) else (inside,)


def committees(teacher: Any) -> Iterator[Committee]:
    """The committees inside a teacher, the outermost first."""
    if isinstance(teacher, Committee):
        yield teacher
    for inner in getattr(teacher, "spenders", {}).values():
        yield from committees(inner)


def teacher_net(teacher: Any) -> Any:
    """The learner inside a teacher, to be used as a net.

    Raises:
        TeacherError: it has none.
    """
    inside = unwrap(teacher)
    if not isinstance(inside, ModelTeacher):
        raise TeacherError(
            f"The teacher is {getattr(inside, 'kind', type(inside).__name__)}, but this method needs a net: an "
            "nn.Module, a spec such as cnn:16,32, the directory of a run, or hf:DIR."
        )
    return inside.learner


class ClassGroups(Sequence[tuple[int, ...]]):
    """A partition of the classes into groups, one for each specialist.

    Args:
        groups: class numbers; together every number from 0 to C - 1 once.
        classes: C.

    Raises:
        ConfigError: a class is in no group or in several, or unknown; or a group has a single class, which leaves
            nothing to classify.
    """

    def __init__(self, groups: Sequence[Sequence[int]], classes: int) -> None:
        self._groups = tuple(tuple(group) for group in groups)
        if sorted(c for group in self._groups for c in group) != list(range(classes)):
            raise ConfigError(
                f"groups is {self}, but must hold every class number from 0 to {classes - 1} once, as in "
                f"{ClassGroups.even(classes, 2)}."
            )
        if any(len(group) < 2 for group in self._groups):
            raise ConfigError(f"groups is {self}, where a group has a single class; give each group two or more.")
        self._places = torch.full((len(self._groups), classes), IGNORE)
        for k, group in enumerate(self._groups):
            self._places[k, list(group)] = torch.arange(len(group))

    @classmethod
    def even(cls, classes: int, count: int) -> "ClassGroups":
        """Group neighbouring classes into at most `count` groups of about the same size, at least two classes each."""
        parts = torch.arange(classes).tensor_split(max(1, min(count, classes // 2)))
        return cls([part.tolist() for part in parts], classes)

    @classmethod
    def parse(cls, words: str, classes: int) -> "ClassGroups":
        """Read groups such as `0,1,2/3,4`.

        Raises:
            ConfigError: they cannot be parsed, or are not a partition of the classes.
        """
        try:
            groups = [[int(number) for number in part.split(",")] for part in words.split("/")]
        except ValueError:
            raise ConfigError(
                f"groups is {words!r}, but must be class numbers such as {cls.even(classes, 2)}."
            ) from None
        return cls(groups, classes)

    def __len__(self) -> int:
        return len(self._groups)

    def __getitem__(self, index: Any) -> Any:
        return self._groups[index]

    def __str__(self) -> str:
        return "/".join(",".join(map(str, group)) for group in self._groups)

    def within(self, labels: Tensor) -> Tensor:
        """The index of each label within each group.

        Args:
            labels: int64 [B], or `IGNORE`.

        Returns:
            int64 [K, B]; `IGNORE` if the label is in another group, or missing.
        """
        places = self._places.to(labels.device)[:, labels.clamp(min=0)]
        return torch.where(labels >= 0, places, IGNORE)
