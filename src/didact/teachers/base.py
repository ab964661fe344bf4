"""What teachers share: how they charge, the view that they look at, and the refusal of what they cannot do."""

from functools import partial
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from didact.documents import State
from didact.errors import TeacherError
from didact.types import (
    Batch,
    Cost,
    Features,
    Head,
    Labels,
    Ledger,
    Logits,
    Pending,
    Signal,
    Stateful,
    States,
    TokenOutput,
)


class BaseTeacher:
    """Abstract: charges its answers, and has no features to tap. A kind of teacher defines `signal`, or `ask`.

    Args:
        view: name of the view of the batch that it looks at, where the batch has that view; else the plain inputs.
    """

    kind: ClassVar[str] = "teacher"
    """What it is, with its article, for messages."""
    frozen: bool = True
    """Whether it gives the same answer to the same inputs for the whole of a run."""
    charges: frozenset[str] = frozenset({"teacher_calls", "teacher_tokens"})
    """What its answers can cost; see `didact.types.Spender`."""

    def __init__(self, *, view: str | None = None) -> None:
        self.view = view
        self.ledger, self.by = Ledger(), "teacher"

    @property
    def cost(self) -> Cost:
        """What its answers have cost so far, in the run that it has a part in: calls and tokens."""
        return self.ledger.parts[self.by]

    def signal(self, batch: Batch) -> Signal:
        """Answer a batch."""
        if type(self).ask is BaseTeacher.ask:
            raise NotImplementedError(f"{type(self).__name__} must define signal(batch) or ask(batch).")
        return self.ask(batch).get()

    def ask(self, batch: Batch) -> Pending:
        """Ask about a batch without waiting for the answer, where the teacher can: `signal` waits.

        Returns:
            The answer, which is computed when it is waited for unless the teacher says otherwise.
        """
        return Pending(partial(self.signal, batch))

    def tap(self, *names: str) -> None:
        """Ask for the features of these submodules from now on.

        Raises:
            TeacherError: this kind of teacher answers without showing features.
        """
        raise TeacherError(
            f"Features {', '.join(map(repr, names)) or '(none named)'} were asked of {self.kind}, which shows none; a "
            "frozen module, a didact run, a Hugging Face model, an average of the learner or a peer has features."
        )

    def candidates(self) -> list[str]:
        """Names that `tap` accepts: none."""
        return []

    def to(self, device: torch.device | str) -> Self:
        """Move what can be moved, in place; here nothing, as answers follow the batch."""
        return self

    def _look(self, batch: Batch) -> Batch:
        """The batch with the view that this teacher looks at, where it has that view."""
        if self.view is None:
            return batch
        prefix = self.view + "."
        return batch.view(self.view) if any(key.startswith(prefix) for key in batch) else batch

    def count(self, batch: Batch) -> None:
        """Charge an answered batch."""
        self.ledger.charge("teacher_calls", batch.size, self.by)
        if "input_ids" in batch:
            # Padding counts, as for the student: to leave it out, every step would wait for the device.
            self.ledger.charge("teacher_tokens", batch["input_ids"].numel(), self.by)


def ask(teacher: Any, batch: Batch) -> Pending:
    """Ask whatever has a method `signal`, and wait for the answer only if it has no method `ask`."""
    return teacher.ask(batch) if callable(getattr(teacher, "ask", None)) else Pending(partial(teacher.signal, batch))


class WrappingTeacher(BaseTeacher):
    """Abstract: stands before another teacher, whose charges, features and state are its own.

    Args:
        teacher: the one that answers in the end; whatever has a method `signal`.
        view: see `BaseTeacher`.
    """

    charges = frozenset()

    def __init__(self, teacher: Any, *, view: str | None = None) -> None:
        super().__init__(view=view)
        self.teacher = teacher
        self.spenders = {"": teacher}
        """The wrapped teacher, which goes by this one's name; see `didact.types.Spender`."""
        self.frozen = getattr(teacher, "frozen", True)

    def ask(self, batch: Batch) -> Pending:
        """Ask the wrapped teacher."""
        return ask(self.teacher, self._look(batch)).then(partial(self._change, batch=batch))

    def _change(self, signal: Signal, batch: Batch) -> Signal:
        """What becomes of the wrapped teacher's answer."""
        raise NotImplementedError(f"{type(self).__name__} must say what it makes of an answer.")

    @property
    def cost(self) -> Cost:
        """What the wrapped teacher's answers have cost."""
        return getattr(self.teacher, "cost", super().cost)

    def tap(self, *names: str) -> None:
        """Forward to the wrapped teacher."""
        self.teacher.tap(*names)

    def candidates(self) -> list[str]:
        """Those of the wrapped teacher."""
        return self.teacher.candidates()

    def to(self, device: torch.device | str) -> Self:
        """Move the wrapped teacher where it can be moved, in place."""
        if callable(getattr(self.teacher, "to", None)):
            self.teacher.to(device)
        return self

    def state_dict(self) -> State:
        """The state of the wrapped teacher, where it has one."""
        return {"teacher": self.teacher.state_dict()} if isinstance(self.teacher, Stateful) else {}

    def load_state_dict(self, state: State, /) -> None:
        """Take back what `state_dict` gave."""
        if isinstance(self.teacher, Stateful):
            self.teacher.load_state_dict(state["teacher"])


class ModelTeacher(BaseTeacher):
    """Abstract: a learner that teaches.

    Args:
        learner: `learner(batch) -> Output`; `tap(*names)` and `candidates()` where it has features to show.
        view: see `BaseTeacher`.
        order: int64 [C], a permutation: `order[i]` is the teacher's own number of the data's class `i` (see `align`);
            None where both agree.
    """

    def __init__(self, learner: Any, *, view: str | None = None, order: Tensor | None = None) -> None:
        super().__init__(view=view)
        self.learner = learner
        self._tapped = bool(getattr(learner, "taps", ()))
        self._order = check_order(order)

    def tap(self, *names: str) -> None:
        """Ask for the features of these submodules from now on: `signal` gives `Features`, with the logits.

        Raises:
            ConfigError: the learner has no submodule of that name.
        """
        self.learner.tap(*names)
        self._tapped = True

    def candidates(self) -> list[str]:
        """Names of the submodules that can be tapped."""
        return self.learner.candidates()

    def to(self, device: torch.device | str) -> Self:
        """Move the learner, in place."""
        self.learner.to(device)
        if self._order is not None:
            self._order = self._order.to(device)
        return self

    def signal(self, batch: Batch) -> Signal:
        """Answer a batch.

        Returns:
            `Logits` [B, C] in the data's class order; `Features` with them once `tap` was called; where the model has
            a single output (a regression), `Labels` float [B]; `States` [B, T] of a language model. Detached, and fit
            to go into a loss.
        """
        seen = mask_unknown_ids(self.learner, self._look(batch))
        # Not inference_mode: its tensors can't be saved for backward, so that every answer would have to be copied.
        # Measured with the copy, it was 0 to 10% slower than no_grad on an MLP, a CNN with taps and a transformer.
        with torch.no_grad():
            output = self.learner(seen)
        self.count(seen)
        if isinstance(output, TokenOutput):
            return States(hidden=output.hidden, head=output.head)
        logits = reorder(output.logits, self._order)
        if self._tapped:
            return Features(features=output.features, logits=logits)
        return Labels(labels=logits[:, 0]) if logits.shape[-1] == 1 else Logits(logits=logits)


def mask_unknown_ids(learner: Any, batch: Batch) -> Batch:
    """A batch without token ids that a language model has not, which one that scores more may write: padding instead.

    Args:
        learner: any; only a language model's batches change.
        batch: with `input_ids` where the learner is a language model.
    """
    head, tokenizer = getattr(learner, "head", None), getattr(learner, "tokenizer", None)
    if not isinstance(head, Head) or tokenizer is None:
        return batch
    ids = batch["input_ids"]
    return Batch({**batch, "input_ids": ids.where(ids < head.vocabulary, tokenizer.pad)})


def check_order(order: Tensor | None) -> Tensor | None:
    """None for the identity, so that it costs nothing; else the permutation itself.

    Raises:
        TeacherError: it isn't a permutation.
    """
    if order is None:
        return None
    order = torch.as_tensor(order)
    identity = torch.arange(order.numel(), device=order.device)
    if order.ndim != 1 or order.is_floating_point() or not torch.equal(order.sort().values, identity):
        raise TeacherError(
            f"order is {order.tolist()}, which is no permutation of the class numbers 0 to {order.numel() - 1}; "
            "align(own_classes, data_classes) makes one."
        )
    return None if torch.equal(order, identity) else order


def reorder(scores: Tensor, order: Tensor | None) -> Tensor:
    """Scores [B, C] in a teacher's own class order, brought into the data's.

    Raises:
        TeacherError: another number of classes than the order has.
    """
    if order is None:
        return scores
    if scores.shape[-1] != order.numel():
        raise TeacherError(
            f"The teacher answers with {scores.shape[-1]} classes, but its order names {order.numel()}; "
            "align(own_classes, data_classes) makes one that fits."
        )
    return scores.index_select(-1, order.to(scores.device))
