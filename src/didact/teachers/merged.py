"""A language model that is the average of the checkpoints of its own student."""

from typing import Any

import torch
from torch import Tensor, nn

from didact.documents import State
from didact.errors import check_range
from didact.teachers.base import BaseTeacher, ModelTeacher
from didact.types import Batch, Signal
from didact.types.frozen import copy_trained, load_module_state, module_state


class MergedTeacher(ModelTeacher):
    """The mean of the checkpoints of a language model during its run (Wei et al. 2025, GTR-Turbo).

    The loop calls `follow` after each optimizer step, and every so many steps the learner's weights are a checkpoint:
    of K of them, `average <- average + (learner - average) / K`. Before the first one, the teacher is the learner as it
    was when the run began, which is not among the checkpoints. Frozen weights, such as the base of adapters, are shared
    with the learner.

    Departure: a plain mean, where the authors' default also trims small changes and those whose sign is in the minority
    (TIES; https://github.com/TongWei1105/GTR-Turbo weighs checkpoints alike).

    Args:
        learner: the student; it may still be trained by a warm start before the first signal.
        every: optimizer steps between checkpoints, at least 1.

    Raises:
        ConfigError: `every` is less than 1.
    """

    kind = "an average of the learner's checkpoints"
    frozen = False
    tap, candidates = BaseTeacher.tap, BaseTeacher.candidates

    def __init__(self, learner: Any, *, every: int) -> None:
        check_range("every", every, at_least=1)
        super().__init__(learner)
        self.every = every
        self.steps = self.merged = 0
        self._begun = False

    def signal(self, batch: Batch) -> Signal:
        """Compute the signal for a batch of sequences: `States` [B, T]."""
        self._begin()
        return super().signal(batch)

    @torch.no_grad()
    def follow(self, learner: nn.Module) -> None:
        """Count an optimizer step, and add the learner's weights to the average if they are a checkpoint."""
        self._begin()
        self.steps += 1
        if self.steps % self.every == 0:
            self.merged += 1
            for average, value in zip(_tensors(self.learner), _tensors(learner), strict=True):
                if average is not value:
                    _move(average, value, 1.0 / self.merged)

    def _begin(self) -> None:
        """Copy the learner, once a warm start has trained it."""
        if not self._begun:
            self.learner = copy_trained(self.learner).eval().requires_grad_(False)
            self._begun = True

    def state_dict(self) -> State:
        """The average, the number of steps and that of checkpoints."""
        self._begin()
        return {"learner": module_state(self.learner), "steps": self.steps, "merged": self.merged}

    def load_state_dict(self, state: State, /) -> None:
        """Restore the result of `state_dict`."""
        self._begin()
        load_module_state(self.learner, state["learner"])
        self.steps, self.merged = int(state["steps"]), int(state["merged"])


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def _move(average: Tensor, value: Tensor, weight: float) -> None:
    """Move a tensor towards another one; counters are copied."""
    if average.is_floating_point():
        average.lerp_(value, weight)
    else:
        average.copy_(value)
