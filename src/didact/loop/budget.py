"""How much teaching may cost, on any axis."""

import dataclasses
from dataclasses import dataclass

from didact.errors import ConfigError
from didact.types import Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Where a run ends: at whichever of these limits it reaches first.

    Raises:
        ConfigError: no limit, or a limit that is not above zero.
    """

    steps: int | None = None  # optimizer steps
    epochs: float | None = None  # passes over the training examples
    labels: int | None = None  # distinct labelled examples
    teacher_calls: int | None = None  # examples that a teacher answers
    tokens: int | None = None  # tokens that the student reads or writes
    env_steps: int | None = None  # steps in environments
    seconds: float | None = None  # wall-clock time of training

    def __post_init__(self) -> None:
        for axis, limit in self.limits().items():
            if not limit > 0:
                raise ConfigError(f"The budget's {axis} is {limit!r}, but must be above 0.")
        if not self.limits():
            axes = ", ".join(f.name for f in dataclasses.fields(self))
            raise ConfigError(f"The budget has no limit; give at least one of {axes}.")

    def limits(self) -> dict[str, float]:
        """The limits that were given, by axis."""
        given = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {axis: limit for axis, limit in given.items() if limit is not None}

    def fraction(self, cost: Cost, epoch_size: int) -> float:
        """How much of the budget is used, from 0; 1 or more means that it is used up.

        Args:
            cost: what has been used.
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

    def check_source(self, epoch_size: int, labels: int) -> None:
        """Refuse a budget that the source cannot be held to.

        Args:
            epoch_size: examples in one pass over the source; 0 where passes mean nothing.
            labels: distinct labelled examples in the source.

        Raises:
            ConfigError: epochs of a source without passes, or fewer labels than the source holds.
        """
        if self.epochs is not None and not epoch_size:
            raise ConfigError("The budget is in epochs, but the source has no end; give it in steps instead.")
        if self.labels is not None and labels > self.labels:
            raise ConfigError(
                f"The budget allows {self.labels} labels, but the source holds {labels}; "
                "keep fewer labels of it before training."
            )
        if set(self.limits()) == {"labels"}:
            raise ConfigError("The budget limits labels only, so the run would never end; give steps or epochs too.")
