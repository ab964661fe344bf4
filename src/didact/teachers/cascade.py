"""Teachers that are asked one after the other, the cheap ones first."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from didact.documents import State
from didact.errors import ConfigError, TeacherError, check_range
from didact.teachers.base import ask
from didact.teachers.committee import Committee
from didact.types import Batch, Labels, Logits, Pending, Signal
from didact.types.algebra import abstain, choose, densify, spread


class CascadeTeacher(Committee):
    """Asks the first teacher about every row, and each further one where those before did not settle it.

    A row is settled once a teacher has answered it, all that did name the same class, and the mean of their
    probabilities gives that class at least `sure`. So a row is passed on where the teachers so far disagree, abstain or
    are unsure (compare FrugalGPT; Chen, Zaharia & Zou 2023, which learns when to pass on). What is asked is one thing,
    how the answers are joined another: a committee joins those of all that were asked about a row, else the last one
    that did not abstain counts alone.

    Args:
        teachers: at least two, the cheapest first, of classes.
        sure: in [0, 1]; 0 passes on disagreement and abstention alone.
        calls: the most rows that the teachers after the first may be asked about, all together, in the whole run and
            its evaluation, in this process. Where fewer are left than rows that need them, the least sure rows come
            first. None for any number.
        blend: joins the answers, one member for each teacher; None for the last answer.
        classes: the number of classes, where no signal determines it.
        names: see `Committee`.

    Raises:
        ConfigError: fewer than two teachers, a value out of range, or a committee of another size.
    """

    kind = "a cascade of teachers"

    def __init__(
        self,
        teachers: Sequence[Any],
        *,
        sure: float,
        calls: int | None = None,
        blend: Committee | None = None,
        classes: int | None = None,
        names: Sequence[str] = (),
    ) -> None:
        super().__init__(teachers, classes=classes, names=names)
        check_range("sure", sure, at_least=0.0, at_most=1.0)
        if calls is not None:
            check_range("calls", calls, at_least=0)
        if len(teachers) < 2:
            raise ConfigError("teachers has a single one, but a cascade asks one after the other; give A+B.")
        if blend is not None and len(blend.teachers) != len(teachers):
            raise ConfigError(f"blend has {len(blend.teachers)} members, but there are {len(teachers)} teachers.")
        self.sure, self.calls, self.blend = sure, calls, blend
        self.asked = 0
        """Rows that teachers after the first were asked about."""
        self.open = True
        """Whether they may be asked; a run sets it once its checks have passed, so that checks cost none of them."""

    def ask(self, batch: Batch) -> Pending:
        """Request the first teacher's signal; the others are asked when the signal is waited for.

        Returns:
            `Logits` [B, C].

        Raises:
            TeacherError: a teacher gives something else than classes.
        """
        first = ask(self.teachers[0], batch)
        return Pending(lambda: self._pass_on(first.get(), batch))

    @torch.no_grad()
    def _pass_on(self, first: Signal, batch: Batch) -> Signal:
        told = [self._dense(first)]
        for teacher in self.teachers[1:]:
            rows = self._unsettled(told)
            if not rows.numel():
                break
            self.asked += rows.numel()
            fresh = self._dense(ask(teacher, batch.select(rows.to(batch["id"].device))).get())
            told.append(spread(fresh, rows, batch.size))
        if self.blend is None:
            found = _last(told)
        else:
            nobody = abstain(told[0], torch.ones(batch.size, dtype=torch.bool, device=told[0].device))
            found = self.blend.mean([*told, *[nobody] * (len(self.teachers) - len(told))], batch)
        trust = found.effective_trust
        # Always of the same form, whoever was asked, so that a cache holds it.
        full = torch.ones(batch.size, device=found.device)
        return Logits(logits=found.scores().float(), trust=full if trust is None else trust.float())

    def _dense(self, signal: Signal) -> Signal:
        if len(signal.shape) != 1 or (isinstance(signal, Labels) and signal.is_target):
            raise TeacherError("A teacher of a cascade gives no classes of examples; give one that does.")
        return densify(signal, signal.outcomes or self.classes)

    def _unsettled(self, told: Sequence[Signal]) -> Tensor:
        """The rows that the next teacher is asked about, int64 [K]."""
        left = None if self.calls is None else self.calls - self.asked
        if not self.open or left == 0:
            return torch.zeros(0, dtype=torch.int64)
        probs, answered = self.log_probs(told).exp(), self.answered(told)
        heard = answered.float().T.unsqueeze(-1)
        mean = (probs * heard).sum(0) / heard.sum(0).clamp(min=1)
        certainty = torch.where(self.disagrees(told) | ~answered.any(-1), -1.0, mean.amax(-1))
        rows = (certainty < self.sure if self.sure else certainty < 0).nonzero()[:, 0]
        if left is None or len(rows) <= left:
            return rows
        return rows[certainty[rows].argsort(stable=True)[:left]].sort().values

    def state_dict(self) -> State:
        """The states of the members and of the committee, and the number of rows that were asked about."""
        blend = {} if self.blend is None else {"blend": self.blend.state_dict()}
        return {**super().state_dict(), **blend, "asked": self.asked}

    def load_state_dict(self, state: State, /) -> None:
        """Restore the result of `state_dict`."""
        super().load_state_dict(state)
        self.asked = int(state["asked"])
        if self.blend is not None:
            self.blend.load_state_dict(state["blend"])


def _last(told: Sequence[Signal]) -> Signal:
    """In each row the signal of the last teacher that did not abstain, of some that hold scores [B, C]."""
    found = told[0]
    for one in told[1:]:
        trust = one.effective_trust
        where = torch.ones_like(one.scores()[:, 0], dtype=torch.bool) if trust is None else trust > 0
        found = choose(where, one, found)
    return found
