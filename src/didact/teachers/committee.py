"""A committee of teachers."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal, Self

import torch
from torch import Tensor

from didact.documents import State
from didact.errors import ConfigError, TeacherError, check_choice, check_range
from didact.teachers.base import BaseTeacher, ask
from didact.teachers.weighing import Gate, accuracies_of, agreement_weights, inverse_errors, skill_weights
from didact.types import Batch, Cost, Labels, Pending, Signal, Space, Stateful
from didact.types.algebra import abstain, densify, mix, mix_targets
from didact.types.scores import LEAST_CONFIDENCE, confidence, jensen_shannon

Weights = Literal["equal", "confidence", "skill", "agreement", "learned"]
MEASURED = ("skill", "learned")
"""The weights that are measured on labelled rows."""


class Committee(BaseTeacher):
    """The weighted mean of several teachers' signals, by example or by token.

    A member's weight is multiplied by the trust of its signal, so that one that abstains does not count. The trust of
    the mean is the weighted mean trust of the members that did not abstain, and 0 where all did; by weights that
    depend on the row (`confidence`, `agreement`, `learned`), their plain mean.

    Weights are
    - `equal`;
    - a list, one number per member;
    - `confidence`: for each row `1 - H(p) / log V`, with the entropy `H` of the member's own `p` over V outcomes;
    - `skill`: `max(0, log(a / (1 - a)) + log(V - 1))` from the member's accuracy `a` on validation data, as boosting
      weighs its rounds (Zhu et al. 2009, multi-class AdaBoost): zero for one that is no better than guessing. In a
      regression one over the member's mean squared error there; over tokens the shares under which the mixture of
      the members finds validation completions likeliest (see `mixture_shares`);
    - `agreement`: for each row with a label, by how likely the member finds it (see `agreement_weights`);
    - `learned`: for each row, by a small model of the members' own signals (see `Gate`), fitted on validation data.

    Until they are measured, `skill` without accuracies and `learned` weigh all alike.

    Args:
        teachers: at least one; anything with a method `signal`. All must have the data's class order, or the same
            tokens, of which those that all have are used; for a regression, all give `Labels` float [B], and weights
            are `equal`, `skill` or a list.
        weights: see above.
        space: `probability` averages probabilities; `logit` averages logits, which gives the normalised geometric mean
            of the probabilities.
        accuracies: for `skill`, each member's accuracy on validation data, in [0, 1]; taken as at most 0.999.
        classes: the number of classes, where no member's signal determines it (hard labels, top-k).
        names: what the members are called in reports; by default their numbers from 1.
        most_conflict: the largest `conflict` in a row that the committee still answers; in others it abstains. 1
            allows any.

    Raises:
        ConfigError: weights, accuracies, names or space that don't fit.
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
        names: Sequence[str] = (),
        most_conflict: float = 1.0,
    ) -> None:
        super().__init__()
        if not teachers:
            raise ConfigError("teachers is empty; a committee needs at least one.")
        check_choice("space", space, ("probability", "logit"))
        check_range("most_conflict", most_conflict, above=0.0, at_most=1.0)
        self.teachers, self.classes, self.most_conflict = tuple(teachers), classes, most_conflict
        self.spenders = {str(number): teacher for number, teacher in enumerate(teachers)}
        """The members by number; see `didact.types.Spender`."""
        self.space: Space = space
        self.weights = weights if isinstance(weights, str) else _checked_weights(weights, len(teachers))
        self.accuracies = _checked_accuracies(self.weights, accuracies, len(teachers))
        self.errors: tuple[float, ...] = ()
        """The members' mean squared errors, of a regression by skill."""
        self.mixture: tuple[float, ...] = ()
        """The members' shares of tokens by skill, once they are measured."""
        self.gate: Gate | None = None
        """What was learnt of the members' shares."""
        self.names = tuple(names) or tuple(str(number + 1) for number in range(len(teachers)))
        if len(self.names) != len(teachers):
            raise ConfigError(f"names has {len(names)} entries, but the committee has {len(teachers)} members.")
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
        return Pending(lambda: self.mean([one.get() for one in pending], batch))

    @torch.no_grad()
    def measure(self, batches: Iterable[Batch]) -> None:
        """Measure the members on labelled rows, for weights by `skill` or `learned`; others need nothing.

        Args:
            batches: of validation rows, each with a `label`; no test row may be among them.

        Raises:
            TeacherError: no member is better than guessing, or the members' signals are incompatible.
        """
        if self.weights not in MEASURED or self.accuracies:
            return
        asked = [(batch["label"], [ask(one, batch) for one in self.teachers]) for batch in batches]
        told = [(label, [one.get() for one in pending]) for label, pending in asked]
        labels = torch.cat([label for label, _ in told])
        if isinstance(told[0][1][0], Labels) and told[0][1][0].is_target:
            answers = torch.cat([torch.stack([one.labels for one in self._targets(signals)]) for _, signals in told], 1)
            self.errors = tuple((answers.double() - labels.double()).square().mean(-1).tolist())
            return
        log_probs = torch.cat([self.log_probs(signals) for _, signals in told], 1)
        answered = torch.cat([self.answered(signals) for _, signals in told])
        if self.weights == "learned":
            self.gate = Gate(len(self.teachers), log_probs.shape[-1])
            self.gate.fit(log_probs, labels, answered)
        else:
            self.accuracies = accuracies_of(log_probs, labels, answered)
            skill_weights(self.accuracies, log_probs.shape[-1])

    def mean(self, signals: Sequence[Signal], batch: Batch, *, without: int | None = None) -> Signal:
        """Join the members' signals for a batch.

        Args:
            signals: M, in the order of the members.
            batch: what they were asked about; weights by `agreement` read its `label`, if it has one.
            without: a member that has no say; where the others weigh nothing, they weigh alike.
        """
        if any(isinstance(signal, Labels) and signal.is_target for signal in signals):
            return mix_targets(self._targets(signals), self._say(signals, None, batch, without))
        classes = self._classes(signals)
        dense = [densify(signal, classes) for signal in signals]
        say = self._say(dense, classes, batch, without)
        found = mix(dense, say, space=self.space, by_confidence=self.weights == "confidence")
        return found if self.most_conflict == 1.0 else abstain(found, self.conflict(dense) > self.most_conflict)

    def conflict(self, signals: Sequence[Signal]) -> Tensor:
        """The Jensen-Shannon divergence of the members that answered over log M: float [...] in [0, 1].

        Args:
            signals: M, in the order of the members, of classes or of few tokens.
        """
        return jensen_shannon(self.log_probs(signals), self.answered(signals).float()) / math.log(max(len(signals), 2))

    def disagrees(self, signals: Sequence[Signal]) -> Tensor:
        """Whether not all members that answered name the same outcome: bool [...].

        Args:
            signals: see `conflict`.
        """
        named, answered = self.log_probs(signals).argmax(-1).movedim(0, -1), self.answered(signals)
        first = named.gather(-1, answered.long().argmax(-1, keepdim=True))
        return ((named != first) & answered).any(-1)

    def shares(self, signals: Sequence[Signal], batch: Batch) -> Tensor:
        """The weight of each member in each row, its trust included: float [..., M]; each row adds up to 1, or is 0.

        Args:
            signals: see `conflict`.
            batch: see `mean`.
        """
        found = self._say(signals, self._classes(signals), batch, None)
        say = torch.as_tensor(found, dtype=torch.float32, device=signals[0].device)
        trusts = [one.effective_trust for one in signals]
        say = say * torch.stack([say.new_ones(signals[0].shape) if one is None else one for one in trusts], -1)
        if self.weights == "confidence":
            say = say * (confidence(self.log_probs(signals)).movedim(0, -1) + LEAST_CONFIDENCE)
        return say / say.sum(-1, keepdim=True).clamp(min=torch.finfo(say.dtype).tiny)

    def answered(self, signals: Sequence[Signal]) -> Tensor:
        """Which members answered in each row: bool [..., M]."""
        full = torch.ones(signals[0].shape, dtype=torch.bool, device=signals[0].device)
        return torch.stack([full if (trust := one.effective_trust) is None else trust > 0 for one in signals], -1)

    def log_probs(self, signals: Sequence[Signal]) -> Tensor:
        """The members' log-probabilities, float [M, ..., V]."""
        classes = self._classes(signals)
        return torch.stack([densify(signal, classes).log_softmax().float() for signal in signals])

    def _targets(self, signals: Sequence[Signal]) -> list[Labels]:
        """The signals of a regression."""
        targets = [signal for signal in signals if isinstance(signal, Labels) and signal.is_target]
        by_classes = self.weights in ("confidence", "agreement", "learned") or bool(self.accuracies)
        if by_classes or self.most_conflict < 1.0 or len(targets) < len(signals):
            raise TeacherError(
                f"The committee's members give regression targets, and weights is {self.weights!r}; over a "
                "regression every member must give targets, weights must be 'equal', a list, or 'skill' without "
                "accuracies, and any conflict is allowed."
            )
        return targets

    def _classes(self, signals: Sequence[Signal]) -> int | None:
        counts = {count for signal in signals if (count := signal.outcomes) is not None}
        if len(counts) > 1 and len(signals[0].shape) == 1:
            raise TeacherError(f"The committee's members have {sorted(counts)} classes; all must have the same.")
        return next(iter(counts), self.classes)

    def _say(
        self, signals: Sequence[Signal], classes: int | None, batch: Batch, without: int | None
    ) -> Sequence[float] | Tensor:
        """Each member's weight, M numbers; or those in each row, float [B, M]."""
        say = self._weights(signals, classes, batch)
        if without is None:
            return say
        kept = torch.as_tensor(say, dtype=torch.float32).clone()
        kept[..., without] = 0.0
        alike = torch.ones_like(kept)
        alike[..., without] = 0.0
        return torch.where(kept.sum(-1, keepdim=True) > 0, kept, alike)

    def _weights(self, signals: Sequence[Signal], classes: int | None, batch: Batch) -> Sequence[float] | Tensor:
        if self.errors:
            return inverse_errors(self.errors)
        if self.mixture:
            return self.mixture
        if self.weights == "skill" and self.accuracies:
            if classes is None:
                raise TeacherError("weights is 'skill', but no member says how many classes there are; give classes=.")
            return skill_weights(self.accuracies, classes)
        if self.gate is not None:
            return self.gate.shares(self.log_probs(signals), self.answered(signals))
        if self.weights == "agreement" and "label" in batch:
            return agreement_weights(self.log_probs(signals), batch["label"])
        return [1.0] * len(self.teachers) if isinstance(self.weights, str) else list(self.weights)

    def state_dict(self) -> State:
        """The state of every member that has one, by position, and what was measured of them."""
        members = {str(i): part.state_dict() for i, part in enumerate(self.teachers) if isinstance(part, Stateful)}
        if self.weights not in MEASURED:
            return members
        gate = {} if self.gate is None else {"gate": self.gate.state_dict()}
        found = {"accuracies": self.accuracies, "errors": self.errors, "mixture": self.mixture}
        return {**members, **{name: list(values) for name, values in found.items()}, **gate}

    def load_state_dict(self, state: State, /) -> None:
        """Restore the result of `state_dict`."""
        for i, part in enumerate(self.teachers):
            if isinstance(part, Stateful):
                part.load_state_dict(state[str(i)])
        if self.weights in MEASURED:
            self.accuracies, self.errors = tuple(state["accuracies"]), tuple(state["errors"])
            self.mixture = tuple(state["mixture"])
        if "gate" in state:
            self.gate = Gate(*state["gate"]["each"].shape)
            self.gate.load_state_dict(state["gate"])


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
        check_choice("weights", weights, ("equal", "confidence", *MEASURED, "agreement"))
    if accuracies is None:
        return ()
    if weights != "skill":
        raise ConfigError(f"weights is {weights!r}, but accuracies are for weights='skill' alone; leave them out.")
    if len(accuracies) != members:
        raise ConfigError(f"accuracies has {len(accuracies)} numbers, but the committee has {members} members.")
    for i, accuracy in enumerate(accuracies):
        check_range(f"accuracies[{i}]", accuracy, at_least=0.0, at_most=1.0)
    return tuple(accuracies)
