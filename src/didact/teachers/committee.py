"""A committee of teachers."""

import math
from collections.abc import Sequence
from typing import Any, Literal, Self

import torch

from didact.documents import State
from didact.errors import ConfigError, TeacherError, check_choice, check_range
from didact.teachers.base import BaseTeacher, ask
from didact.types import Batch, Cost, Labels, Pending, Signal, Space, Stateful
from didact.types.algebra import densify, mix, mix_targets

Weights = Literal["equal", "confidence", "skill"]


class Committee(BaseTeacher):
    """The weighted mean of several teachers' signals, by example or by token.

    A member's weight is multiplied by the trust of its signal, so that one that abstains does not count. The trust of
    the mean is the weighted mean trust of the members that did not abstain, and 0 where all did; by `confidence`, their
    plain mean.

    Weights are
    - `equal`;
    - a list, one number per member;
    - `confidence`: for each row `1 - H(p) / log V`, with the entropy `H` of the member's own `p` over V outcomes;
    - `skill`: `max(0, log(a / (1 - a)) + log(V - 1))` from the member's accuracy `a` on validation data, as boosting
      weighs its rounds (Zhu et al. 2009, multi-class AdaBoost): zero for one that is no better than guessing.

    Args:
        teachers: at least one; anything with a method `signal`. All must have the data's class order, or the same
            tokens, of which those that all have are used; for a regression, all give `Labels` float [B], and weights
            are `equal` or a list.
        weights: see above.
        space: `probability` averages probabilities; `logit` averages logits, which gives the normalised geometric mean
            of the probabilities.
        accuracies: for `skill`, each member's accuracy on validation data, in [0, 1]; taken as at most 0.999.
        classes: the number of classes, where no member's signal determines it (hard labels, top-k).

    Raises:
        ConfigError: weights, accuracies or space that don't fit.
    """

    kind = "a committee"
    charges = frozenset()

    def __init__(
        self,
        teachers: Sequence[Any],
        *,
        weights: Weights | Sequence[float] = "equal",
        space: Space = "probability",
        accuracies: Sequence[float] | None = None,
        classes: int | None = None,
    ) -> None:
        super().__init__()
        if not teachers:
            raise ConfigError("teachers is empty; a committee needs at least one.")
        check_choice("space", space, ("probability", "logit"))
        self.teachers, self.classes = tuple(teachers), classes
        self.spenders = {str(number): teacher for number, teacher in enumerate(teachers)}
        """The members by number; see `didact.types.Spender`."""
        self.space: Space = space
        self.weights = weights if isinstance(weights, str) else _checked_weights(weights, len(teachers))
        self.accuracies = _checked_accuracies(self.weights, accuracies, len(teachers))
        self.frozen = all(getattr(teacher, "frozen", True) for teacher in teachers)

    @property
    def cost(self) -> Cost:
        """The total cost of the members' signals."""
        return sum((getattr(teacher, "cost", Cost()) for teacher in self.teachers), Cost())

    def to(self, device: torch.device | str) -> Self:
        """Move the members in place, except those that cannot be moved."""
        for teacher in self.teachers:
            if callable(getattr(teacher, "to", None)):
                teacher.to(device)
        return self

    def ask(self, batch: Batch) -> Pending:
        """Request the signals of all members, before waiting for the first.

        Returns:
            `Logits` of the mean [B, V]; `Derived` where a member holds no scores, as language models do not; in a
            regression the mean `Labels` float [B]. `trust` is None where no member gave any.

        Raises:
            TeacherError: the members' signals are incompatible; raised when the signal is waited for.
        """
        pending = [ask(teacher, batch) for teacher in self.teachers]
        return Pending(lambda: self._mean([one.get() for one in pending]))

    def _mean(self, signals: list[Signal]) -> Signal:
        if any(isinstance(signal, Labels) and signal.is_target for signal in signals):
            return self._mean_target(signals)
        counts = {count for signal in signals if (count := signal.outcomes) is not None}
        if len(counts) > 1 and len(signals[0].shape) == 1:
            raise TeacherError(f"The committee's members have {sorted(counts)} classes; all must have the same.")
        classes = next(iter(counts), self.classes)
        return mix(
            [densify(signal, classes) for signal in signals],
            self._shares(classes),
            space=self.space,
            by_confidence=self.weights == "confidence",
        )

    def _shares(self, classes: int | None) -> list[float]:
        """Each member's weight; those by skill are known once the number of classes is."""
        if self.weights == "skill":
            if classes is None:
                raise TeacherError("weights is 'skill', but no member says how many classes there are; give classes=.")
            return skill_weights(self.accuracies, classes)
        return [1.0] * len(self.teachers) if isinstance(self.weights, str) else list(self.weights)

    def _mean_target(self, signals: list[Signal]) -> Labels:
        targets = [signal for signal in signals if isinstance(signal, Labels) and signal.is_target]
        if self.weights in ("confidence", "skill") or len(targets) < len(signals):
            raise TeacherError(
                f"The committee's members give regression targets, and weights is {self.weights!r}; over a "
                "regression every member must give targets, and weights must be 'equal' or a list."
            )
        return mix_targets(targets, self._shares(None))

    def state_dict(self) -> State:
        """The state of every member that has one, by position."""
        return {str(i): part.state_dict() for i, part in enumerate(self.teachers) if isinstance(part, Stateful)}

    def load_state_dict(self, state: State, /) -> None:
        """Restore the result of `state_dict`."""
        for i, part in enumerate(self.teachers):
            if isinstance(part, Stateful):
                part.load_state_dict(state[str(i)])


def skill_weights(accuracies: Sequence[float], classes: int) -> list[float]:
    """Weights `max(0, log(a / (1 - a)) + log(C - 1))` of teachers with accuracies `a` (Zhu et al. 2009).

    Args:
        accuracies: in [0, 1]; taken as at most 0.999, so that a perfect score on few examples does not dominate.
        classes: C, at least 2.

    Raises:
        TeacherError: none is better than chance.
    """
    bounded = [min(max(a, 0.001), 0.999) for a in accuracies]
    weights = [max(0.0, math.log(a / (1 - a)) + math.log(max(classes - 1, 1))) for a in bounded]
    if not any(weights):
        raise TeacherError(
            f"accuracies are {list(accuracies)} over {classes} classes: no member is better than guessing. Leave out "
            "weights='skill', or give a better teacher."
        )
    return weights


def _checked_weights(weights: Sequence[float], members: int) -> tuple[float, ...]:
    if len(weights) != members:
        raise ConfigError(f"weights has {len(weights)} numbers, but the committee has {members} members.")
    for i, weight in enumerate(weights):
        check_range(f"weights[{i}]", weight, at_least=0.0, below=math.inf)
    if not any(weights):
        raise ConfigError(f"weights is {list(weights)}; at least one member must have a say.")
    return tuple(float(w) for w in weights)


def _checked_accuracies(
    weights: str | tuple[float, ...], accuracies: Sequence[float] | None, members: int
) -> tuple[float, ...]:
    if isinstance(weights, str):
        check_choice("weights", weights, ("equal", "confidence", "skill"))
    if (weights == "skill") != (accuracies is not None):
        raise ConfigError(
            f"weights is {weights!r} and accuracies is {accuracies!r}; weights='skill' needs accuracies, and nothing "
            "else takes them."
        )
    if accuracies is not None and len(accuracies) != members:
        raise ConfigError(f"accuracies has {len(accuracies)} numbers, but the committee has {members} members.")
    for i, accuracy in enumerate(accuracies or ()):
        check_range(f"accuracies[{i}]", accuracy, at_least=0.0, at_most=1.0)
    return tuple(accuracies or ())
