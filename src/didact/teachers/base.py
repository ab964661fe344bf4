"""The base classes of teachers: charges, views of the batch, and features."""

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
    """Abstract: charges its signals, and has no features to tap. Subclasses define `signal` or `ask`.

    Args:
        view: name of the view of the batch that it reads, where the batch has that view; else the plain inputs.
    """

    kind: ClassVar[str] = "teacher"
    """A description with an article, for messages."""
    frozen: bool = True
    """Whether it gives the same signal for the same inputs throughout a run."""
    charges: frozenset[str] = frozenset({"teacher_calls", "teacher_tokens"})
    """The axes that its signals are charged on; see `didact.types.Spender`."""

    def __init__(self, *, view: str | None = None) -> None:
        self.view = view
        self.ledger, self.by = Ledger(), "teacher"

    @property
    def cost(self) -> Cost:
        """The cost of its signals so far in the present run: calls and tokens."""
        return self.ledger.parts[self.by]

    def signal(self, batch: Batch) -> Signal:
        """Compute the signal for a batch."""
        if type(self).ask is BaseTeacher.ask:
            raise NotImplementedError(f"{type(self).__name__} must define signal(batch) or ask(batch).")
        return self.ask(batch).get()

    def ask(self, batch: Batch) -> Pending:
        """Request the signal for a batch without waiting for it, if the teacher supports that; `signal` waits.

        Returns:
            The pending signal. By default it is computed when it is waited for.
        """
        return Pending(partial(self.signal, batch))

    def tap(self, *names: str) -> None:
        """From now on, include the features of these submodules.

        Raises:
            TeacherError: this kind of teacher has no features.
        """
        raise TeacherError(
            f"Features {', '.join(map(repr, names)) or '(none named)'} were requested from {self.kind}, which has "
            "none; a frozen module, a didact run, a Hugging Face model, an average of the learner or a peer has some."
        )

    def candidates(self) -> list[str]:
        """Names that `tap` accepts: none."""
        return []

    def to(self, device: torch.device | str) -> Self:
        """Move its tensors in place; by default there are none, and signals are on the batch's device."""
        return self

    def _look(self, batch: Batch) -> Batch:
        """The batch with the inputs of this teacher's view, where it has that view."""
        if self.view is None:
            return batch
        prefix = self.view + "."
        return batch.view(self.view) if any(key.startswith(prefix) for key in batch) else batch

    def count(self, batch: Batch) -> None:
        """Charge the signal for a batch."""
        self.ledger.charge("teacher_calls", batch.size, self.by)
        if "input_ids" in batch:
            # Padding counts, as for the student: leaving it out would make every step wait for the device.
            self.ledger.charge("teacher_tokens", batch["input_ids"].numel(), self.by)


def ask(teacher: Any, batch: Batch) -> Pending:
    """Request the signal of any teacher, and wait for it only if the teacher has no method `ask`."""
    return teacher.ask(batch) if callable(getattr(teacher, "ask", None)) else Pending(partial(teacher.signal, batch))


class WrappingTeacher(BaseTeacher):
    """Abstract: wraps another teacher, and has its charges, features and state.

    Args:
        teacher: the wrapped one; anything with a method `signal`.
        view: see `BaseTeacher`.
    """

    charges = frozenset()

    def __init__(self, teacher: Any, *, view: str | None = None) -> None:
        super().__init__(view=view)
        self.teacher = teacher
        self.spenders = {"": teacher}
        """The wrapped teacher, which charges under this one's name; see `didact.types.Spender`."""
        self.frozen = getattr(teacher, "frozen", True)

    def ask(self, batch: Batch) -> Pending:
        """Request the signal of the wrapped teacher, changed."""
        return ask(self.teacher, self._look(batch)).then(partial(self._change, batch=batch))

    def _change(self, signal: Signal, batch: Batch) -> Signal:
        """Change the wrapped teacher's signal."""
        raise NotImplementedError(f"{type(self).__name__} must implement `_change`.")

    @property
    def cost(self) -> Cost:
        """The cost of the wrapped teacher's signals."""
        return getattr(self.teacher, "cost", super().cost)

    def tap(self, *names: str) -> None:
        """Forward to the wrapped teacher."""
        self.teacher.tap(*names)

    def candidates(self) -> list[str]:
        """Those of the wrapped teacher."""
        return self.teacher.candidates()

    def to(self, device: torch.device | str) -> Self:
        """Move the wrapped teacher in place, if it can be moved."""
        if callable(getattr(self.teacher, "to", None)):
            self.teacher.to(device)
        return self

    def state_dict(self) -> State:
        """The state of the wrapped teacher, if it has one."""
        return {"teacher": self.teacher.state_dict()} if isinstance(self.teacher, Stateful) else {}

    def load_state_dict(self, state: State, /) -> None:
        """Restore the result of `state_dict`."""
        if isinstance(self.teacher, Stateful):
            self.teacher.load_state_dict(state["teacher"])


class ModelTeacher(BaseTeacher):
    """Abstract: a learner as a teacher.

    Args:
        learner: `learner(batch) -> Output`; with `tap(*names)` and `candidates()` if it has features.
        view: see `BaseTeacher`.
        order: int64 [C], a permutation: `order[i]` is the teacher's own number of the data's class `i` (see `align`);
            None where both have the same order.
    """

    def __init__(self, learner: Any, *, view: str | None = None, order: Tensor | None = None) -> None:
        super().__init__(view=view)
        self.learner = learner
        self._tapped = bool(getattr(learner, "taps", ()))
        self._order = check_order(order)

    def tap(self, *names: str) -> None:
        """From now on, give `Features` of these submodules, with the logits.

        Raises:
            ConfigError: the learner has no submodule of that name.
        """
        self.learner.tap(*names)
        self._tapped = True

    def candidates(self) -> list[str]:
        """The names of submodules that can be tapped."""
        return self.learner.candidates()

    def to(self, device: torch.device | str) -> Self:
        """Move the learner, in place."""
        self.learner.to(device)
        if self._order is not None:
            self._order = self._order.to(device)
        return self

    def signal(self, batch: Batch) -> Signal:
        """Compute the signal for a batch.

        Returns:
            `Logits` [B, C] in the data's class order; `Features` with them once `tap` was called; for a model with a
            single output (a regression), `Labels` float [B]; for a language model, `States` [B, T]. Detached, and
            usable in a loss.
        """
        seen = mask_unknown_ids(self.learner, self._look(batch))
        # Not inference_mode: its tensors can't be saved for backward, so that every signal would have to be copied.
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
    """Replace token ids that a language model does not have by padding; models with more ids may sample them.

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
    """Check a permutation; None for the identity, which then costs nothing.

    Raises:
        TeacherError: it is not a permutation.
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
    """Reorder scores [B, C] from a teacher's class order to the data's.

    Raises:
        TeacherError: the number of classes differs from that of the order.
    """
    if order is None:
        return scores
    if scores.shape[-1] != order.numel():
        raise TeacherError(
            f"The teacher has {scores.shape[-1]} classes, but its order has {order.numel()}; "
            "align(own_classes, data_classes) makes one that fits."
        )
    return scores.index_select(-1, order.to(scores.device))
