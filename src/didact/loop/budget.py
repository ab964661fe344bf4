"""Budgets: limits of a run's cost."""

import dataclasses
import math
from dataclasses import dataclass

from didact.errors import ConfigError, check_range
from didact.types import Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The limits of a run, which ends at the first one that it reaches.

    A run finishes the step in which it reaches a limit. Labels alone never exceed their limit: the run ends before a
    batch or a round that would read one more.

    Raises:
        ConfigError: there is no limit, or one that is not above zero, or infinite.

    Examples:
        >>> didact.Budget(steps=500, labels=100).limits()
        {'steps': 500, 'labels': 100}
    """

    steps: int | None = None  # optimizer steps
    epochs: float | None = None  # passes over the training examples
    labels: int | None = None  # distinct labelled examples that it may read
    teacher_calls: int | None = None  # examples that a teacher answers
    tokens: int | None = None  # tokens that the student reads or writes
    env_steps: int | None = None  # steps in environments
    seconds: float | None = None  # wall-clock time of training

    def __post_init__(self) -> None:
        for axis, limit in self.limits().items():
            check_range(f"The budget of {axis}", limit, above=0)
            check_range(f"The budget of {axis}", limit, below=math.inf)
        if not self.limits():
            raise ConfigError(f"The budget has no limit; give at least one of {', '.join(AXES)}.")

    def limits(self) -> dict[str, float]:
        """The given limits, by axis."""
        given = {axis: getattr(self, axis) for axis in AXES}
        return {axis: limit for axis, limit in given.items() if limit is not None}

    def fraction(self, cost: Cost, epoch_size: int) -> float:
        """The share of the budget that is used, from 0; 1 or more means that it is used up.

        Labels do not count: their number is no measure of a run's progress.

        Args:
            cost: the cost so far.
            epoch_size: examples in one pass, for a limit in epochs.
        """
        # The loop asks before every step, and nearly every budget is in steps.
        used = cost.steps / self.steps if self.steps is not None else 0.0
        if self.epochs is not None and epoch_size:
            used = max(used, cost.examples / (self.epochs * epoch_size))
        if self.seconds is not None:
            used = max(used, cost.seconds / self.seconds)
        if self.teacher_calls is not None:
            used = max(used, cost.teacher_calls / self.teacher_calls)
        if self.tokens is not None:
            used = max(used, cost.student_tokens / self.tokens)
        if self.env_steps is not None:
            used = max(used, cost.env_steps / self.env_steps)
        return used


AXES = tuple(field.name for field in dataclasses.fields(Budget))
"""The axes that a budget can limit."""
