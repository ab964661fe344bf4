"""Several teachers as one."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import torch
from torch import Tensor

from didact.errors import ConfigError, TeacherError, check_choice, check_range
from didact.teachers.answers import is_target, log_probabilities, scores_of, trust_of
from didact.teachers.base import BaseTeacher
from didact.types import Batch, Cost, Labels, Logits, Signal, Stateful

Weights = Literal["equal", "confidence", "skill"]


class Committee(BaseTeacher):
    """The weighted mean of several teachers' answers, example by example.

    A member's weight is multiplied by its trust in its answer, so that one that abstains has no say. The committee's
    own trust is the weighted mean trust of the members that didn't abstain, and 0 where all did.

    Weights are
    - `equal`;
    - a list, one number a member;
    - `confidence`: for each example `1 - H(p) / log C`, with the entropy `H` of the member's own answer `p`;
    - `skill`: `max(0, log(a / (1 - a)) + log(C - 1))` from the member's accuracy `a` on validation data, as boosting
      weighs its rounds (Zhu et al. 2009, multi-class AdaBoost): zero for one that is no better than guessing.

    Args:
        teachers: at least one. For classes, all must answer in the data's class order; for a regression, all with
            `Labels` float [B], and `equal` or a list as weights.
        weights: see above.
        space: `probability` averages probabilities; `logit` averages logits, which gives the normalised geometric mean
            of the probabilities.
        accuracies: for `skill`, each member's accuracy on validation data, in [0, 1]; taken as at most 0.999.
        classes: C, needed only where every member answers with hard labels or top-k.

    Raises:
        ConfigError: weights, accuracies or space that don't fit.
    """

    kind = "a committee"

    def __init__(
        self,
        teachers: Sequence[Any],
        *,
        weights: Weights | Sequence[float] = "equal",
        space: Literal["probability", "logit"] = "probability",
        accuracies: Sequence[float] | None = None,
        classes: int | None = None,
    ) -> None:
        super().__init__()
        if not teachers:
            raise ConfigError("teachers is empty; a committee needs at least one.")
        check_choice("space", space, ("probability", "logit"))
        self.teachers, self.space, self.classes = tuple(teachers), space, classes
        self.weights = weights if isinstance(weights, str) else _checked_weights(weights, len(teachers))
        self.accuracies = _checked_accuracies(self.weights, accuracies, len(teachers))
        self.frozen = all(getattr(teacher, "frozen", True) for teacher in teachers)

    @property
    def cost(self) -> Cost:
        """What the members' answers have cost together."""
        return sum((teacher.cost for teacher in self.teachers), self._cost)

    @cost.setter
    def cost(self, cost: Cost) -> None:
        # A resumed run knows the total only; from then on the members count what comes on top of it.
        for teacher in self.teachers:
            teacher.cost = Cost()
        self._cost = cost

    def to(self, device: torch.device | str) -> Self:
        """Move every member that can be moved, in place."""
        for teacher in self.teachers:
            if callable(getattr(teacher, "to", None)):
                teacher.to(device)
        return self

    def signal(self, batch: Batch) -> Logits | Labels:
        """Ask every member and average.

        Returns:
            `Labels` of probabilities [B, C], or of targets [B] in a regression; `Logits` [B, C] in logit space. `trust`
            is None where no member gave any.

        Raises:
            TeacherError: the members' answers don't fit together.
        """
        signals = [teacher.signal(batch) for teacher in self.teachers]
        trusts = _stacked_trust(signals, batch)
        if any(is_target(signal) for signal in signals):
            return self._mean_target(signals, trusts)
        log_probs_MBC = torch.stack(self._members(signals))
        weights_MB = self._weights(log_probs_MBC)
        share_MB1, trust = _shares(weights_MB, trusts)
        if self.space == "logit":
            return Logits(logits=(share_MB1 * log_probs_MBC).sum(0), trust=trust)
        mean = (share_MB1 * log_probs_MBC.exp()).sum(0)
        return Labels(labels=mean / mean.sum(-1, keepdim=True), trust=trust)

    def _members(self, signals: list[Signal]) -> list[Tensor]:
        counts = {scores.shape[-1] for signal in signals if (scores := scores_of(signal)) is not None}
        counts |= {self.classes} if self.classes else set()
        if len(counts) > 1:
            raise TeacherError(f"The committee's members answer with {sorted(counts)} classes; all must have the same.")
        return [log_probabilities(signal, next(iter(counts), None)) for signal in signals]

    def _weights(self, log_probs_MBC: Tensor) -> Tensor:
        members, size, classes = log_probs_MBC.shape
        if self.weights == "confidence":
            entropy_MB = -(log_probs_MBC.exp() * log_probs_MBC).sum(-1)
            # The little that is added lets members of which none knows anything average to just that.
            return (1.0 - entropy_MB / math.log(max(classes, 2))).clamp(min=0.0) + 1e-6
        if self.weights == "skill":
            weights = skill_weights(self.accuracies, classes)
        else:
            weights = [1.0] * members if self.weights == "equal" else list(self.weights)
        return log_probs_MBC.new_tensor(weights)[:, None].expand(members, size)

    def _mean_target(self, signals: list[Signal], trusts: Tensor | None) -> Labels:
        if self.weights in ("confidence", "skill") or not all(is_target(signal) for signal in signals):
            raise TeacherError(
                f"The committee's members answer with {', '.join(type(s).__name__ for s in signals)}, some of them "
                f"targets of a regression, and weights is {self.weights!r}; over a regression every member must answer "
                "with targets, and weights must be 'equal' or a list."
            )
        targets_MB = torch.stack([signal.labels.float() for signal in signals if isinstance(signal, Labels)])
        weights = [1.0] * len(signals) if self.weights == "equal" else list(self.weights)
        share_MB1, trust = _shares(targets_MB.new_tensor(weights)[:, None].expand_as(targets_MB), trusts)
        return Labels(labels=(share_MB1[..., 0] * targets_MB).sum(0), trust=trust)

    def state_dict(self) -> dict[str, Any]:
        """The state of every member that has one, by position."""
        return {str(i): part.state_dict() for i, part in enumerate(self.teachers) if isinstance(part, Stateful)}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Take back what `state_dict` gave."""
        for i, part in enumerate(self.teachers):
            if isinstance(part, Stateful):
                part.load_state_dict(state[str(i)])


def skill_weights(accuracies: Sequence[float], classes: int) -> list[float]:
    """Weights `max(0, log(a / (1 - a)) + log(C - 1))` of teachers with accuracies `a` (Zhu et al. 2009).

    Args:
        accuracies: in [0, 1]; taken as at most 0.999, so that a perfect score on few examples doesn't silence the rest.
        classes: C, at least 2.

    Raises:
        TeacherError: none is better than guessing.
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


def _stacked_trust(signals: list[Signal], batch: Batch) -> Tensor | None:
    """Trust [M, B] of the members, or None where all have full trust."""
    trusts = [trust_of(signal) for signal in signals]
    given = next((trust for trust in trusts if trust is not None), None)
    if given is None:
        return None
    full = given.new_ones(batch.size)
    return torch.stack([full if trust is None else trust for trust in trusts])


def _shares(weights_MB: Tensor, trust_MB: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Each member's share in the answer [M, B, 1], summing to 1 over members, and the combined trust [B]."""
    if trust_MB is None:
        return (weights_MB / weights_MB.sum(0)).unsqueeze(-1), None
    say_MB = weights_MB * trust_MB
    voiced_B = (weights_MB * (trust_MB > 0)).sum(0)
    trust_B = say_MB.sum(0) / torch.where(voiced_B > 0, voiced_B, 1.0)
    # Where all abstain, the plain weighted mean stands in, with a trust of 0.
    say_MB = torch.where(say_MB.sum(0) > 0, say_MB, weights_MB)
    return (say_MB / say_MB.sum(0)).unsqueeze(-1), trust_B
