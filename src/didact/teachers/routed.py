"""Several teachers of which one answers: by prompt, or by token."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from didact.errors import ConfigError, TeacherError, check_choice
from didact.teachers.base import ask
from didact.teachers.committee import Committee
from didact.types import Batch, Derived, Pending, Signal
from didact.types.algebra import mix
from didact.types.scores import most_confident


class RoutedTeacher(Committee):
    """One of several teachers, in each row or at each token.

    All are asked about the whole batch, so that the cost is that of all of them.

    Args:
        teachers: M of them, at least two, with the same tokens or classes.
        route: `prompt` takes the teacher whose number (from 1) is in the batch's tensor `teacher`, int64 [B]; `token`
            takes, for each token or example, the one whose distribution has the least entropy.

    Raises:
        ConfigError: an unknown route, or fewer than two teachers.
    """

    kind = "several teachers, of which one answers"

    def __init__(self, teachers: Sequence[Any], *, route: Literal["prompt", "token"]) -> None:
        super().__init__(teachers)
        check_choice("route", route, ("prompt", "token"))
        if len(teachers) < 2:
            raise ConfigError(f"route is {route!r}, but there is only one teacher to choose from; give A+B.")
        self.route = route

    def ask(self, batch: Batch) -> Pending:
        """Request the signals of all.

        Returns:
            `Logits` or `Derived`, as those of `Committee`.

        Raises:
            TeacherError: the batch does not say whose prompts they are, or names a teacher that is not there.
        """
        chosen = self._chosen(batch) if self.route == "prompt" else None
        pending = [ask(teacher, batch) for teacher in self.teachers]
        return Pending(lambda: self._routed([one.get() for one in pending], chosen))

    def _chosen(self, batch: Batch) -> Tensor:
        """The number of the teacher of each row, from 0: int64 [B]."""
        if "teacher" not in batch:
            raise TeacherError(
                "route is 'prompt', but the rows do not say whose they are; give the data a column teacher with "
                f"numbers from 1 to {len(self.teachers)}, and use gkd, or route by token."
            )
        number = batch["teacher"]
        # Numbers are read on the CPU, where they do not make the host wait.
        if number.device.type == "cpu" and not bool(((number >= 1) & (number <= len(self.teachers))).all()):
            raise TeacherError(
                f"The column teacher has numbers from {int(number.min())} to {int(number.max())}, but the teachers are "
                f"numbered from 1 to {len(self.teachers)}; every row needs one of these."
            )
        return number - 1

    def _routed(self, signals: list[Signal], chosen: Tensor | None) -> Signal:
        if chosen is None:
            return Derived(function=most_confident, parts=tuple(signals)).materialise()
        shape = signals[0].shape
        say = F.one_hot(chosen, len(signals)).to(torch.float32)
        return mix(signals, say.view(shape[0], *[1] * (len(shape) - 1), -1).expand(*shape, -1))
