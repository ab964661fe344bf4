"""A teacher that is asked only where the student needs it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from didact.documents import State
from didact.errors import ConfigError, TeacherError, check_choice, check_range
from didact.teachers.base import WrappingTeacher, ask
from didact.types import Batch, Output, Pending, States, TokenOutput, is_labelled
from didact.types.algebra import CHUNK, spread
from didact.types.scores import confidence

NEVER = -1
"""The class of an example that the student was not asked about yet."""


class OnDemandTeacher(WrappingTeacher):
    """Asks a teacher about those rows alone in which the student needs it, and abstains in the others.

    The student answers each batch first, without a gradient and in evaluation mode. A row is asked about if its need,
    in [0, 1], is above `level`; if none is, the neediest one, so that the signal has a form. Methods see a signal
    without trust in the other rows, and need no change. The need is
    - `unsure`: the entropy of the student's distribution over log V; of a sequence the mean over its completion;
    - `wrong`: 1 where its likeliest class is not the label (0 without a label), or where the reward of a completion is
      not above 0;
    - `changed`: 1 where its likeliest class is not the one at the last visit, or this is the first;
    - `learnable`: `4 p (1 - p)` for its probability p of the label, or of its likeliest class without a label: largest
      where it is right half of the time (as in Foster et al. 2025, who choose questions by `p (1 - p)`).

    Each row that is asked about is charged by the wrapped teacher; a cache around that one saves what was asked before.

    Args:
        teacher: the wrapped teacher.
        learner: the student; it is not changed.
        when: `unsure`, `wrong`, `changed` or `learnable`.
        level: in [0, 1).

    Raises:
        ConfigError: an unknown need, or a level out of range.
    """

    kind = "a teacher on demand"
    frozen = False

    def __init__(self, teacher: Any, learner: Any, *, when: str, level: float = 0.5) -> None:
        check_choice("when", when, tuple(NEEDS))
        check_range("level", level, at_least=0.0, below=1.0)
        super().__init__(teacher)
        self.inner = teacher
        """The teacher without a cache."""
        self.frozen, self.when, self.level = False, when, level
        self._learner = learner
        self.last = torch.zeros(0, dtype=torch.int64)
        """The student's likeliest class at the last visit, by row, for `changed`."""

    @property
    def always(self) -> Any:
        """The wrapped teacher without a cache, which is evaluated in place of this one."""
        return self.inner

    def wrap(self, teacher: Any) -> None:
        """Ask this teacher from now on, the wrapped one behind a cache."""
        self.teacher, self.spenders = teacher, {"": teacher}

    @torch.no_grad()
    def ask(self, batch: Batch) -> Pending:
        """Request the signal of the rows that need it.

        Raises:
            TeacherError: the batch has not what the need depends on, such as labels.
        """
        need = NEEDS[self.when](self, self._answer(batch), batch)
        rows = (need > self.level).nonzero()[:, 0]
        rows = rows if rows.numel() else need.argmax()[None]
        return ask(self.teacher, batch.select(rows)).then(partial(spread, rows=rows, size=batch.size))

    def _answer(self, batch: Batch) -> Output | TokenOutput:
        """The student's output, as in an evaluation."""
        training = [part for part in self._learner.modules() if part.training]
        for part in training:
            part.training = False
        try:
            return self._learner(batch)
        finally:
            for part in training:
                part.training = True

    def unsure(self, output: Output | TokenOutput, batch: Batch) -> Tensor:
        """The need of an unsure student, float [B]."""
        if not isinstance(output, TokenOutput):
            return 1.0 - confidence(output.logits.float().log_softmax(-1))
        flat = States(hidden=output.hidden, head=output.head).flatten()
        size = max(1, CHUNK // flat.outcomes)
        parts = [confidence(flat.rows(slice(at, at + size)).log_softmax()) for at in range(0, flat.shape[0], size)]
        # Position t predicts token t + 1.
        mask = batch["completion_mask"][:, 1:].float()
        found = 1.0 - torch.cat(parts).unflatten(0, batch["input_ids"].shape)[:, :-1]
        return (found * mask).sum(1) / mask.sum(1).clamp(min=1)

    def wrong(self, output: Output | TokenOutput, batch: Batch) -> Tensor:
        """The need of a wrong student, float [B]."""
        if isinstance(output, TokenOutput):
            if "reward" not in batch:
                raise TeacherError(
                    "when is 'wrong', but the completions have no rewards; ask by unsure, or use a method that learns "
                    "from rewards, such as kdrl."
                )
            return (batch["reward"] <= 0).float()
        label = _labels(batch)
        return ((output.logits.argmax(-1) != label) & is_labelled(label)).float()

    def changed(self, output: Output | TokenOutput, batch: Batch) -> Tensor:
        """The need of a student that contradicts itself, float [B]."""
        answer = _logits(output).argmax(-1)
        if "row" not in batch:
            return torch.ones(batch.size, device=answer.device)
        rows, most = batch["row"].cpu(), int(batch["row"].max()) + 1
        if most > len(self.last):
            self.last = torch.cat([self.last, self.last.new_full((most - len(self.last),), NEVER)])
        before, self.last[rows] = self.last[rows], answer.cpu()
        return (before.to(answer.device) != answer).float()

    def learnable(self, output: Output | TokenOutput, batch: Batch) -> Tensor:
        """The need of a student at the edge of what it can do, float [B]."""
        probs = _logits(output).float().softmax(-1)
        label = batch["label"] if "label" in batch else torch.full((batch.size,), -1, device=probs.device)
        known = label >= 0
        chosen = torch.where(known, label, probs.argmax(-1))
        p = probs.gather(-1, chosen[:, None])[:, 0]
        return 4.0 * p * (1.0 - p)

    def state_dict(self) -> State:
        """The state of the wrapped teacher, and the student's last answers."""
        return {**super().state_dict(), "last": self.last}

    def load_state_dict(self, state: State, /) -> None:
        """Restore the result of `state_dict`."""
        super().load_state_dict(state)
        self.last = state["last"]


NEEDS: dict[str, Callable[[OnDemandTeacher, Any, Batch], Tensor]] = {
    "unsure": OnDemandTeacher.unsure,
    "wrong": OnDemandTeacher.wrong,
    "changed": OnDemandTeacher.changed,
    "learnable": OnDemandTeacher.learnable,
}
"""The needs, by name."""


def _labels(batch: Batch) -> Tensor:
    if "label" not in batch:
        raise TeacherError("when is 'wrong', but the batch has no labels; ask by unsure, changed or learnable.")
    return batch["label"]


def _logits(output: Output | TokenOutput) -> Tensor:
    if isinstance(output, TokenOutput):
        raise ConfigError("Over tokens a teacher is asked where the student is unsure, or wrong; give one of these.")
    return output.logits
