"""Moving averages and past copies of the learner as teachers."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from didact.documents import State
from didact.errors import ConfigError, check_range
from didact.teachers.base import ModelTeacher
from didact.types import Learner, Method


class EmaTeacher(ModelTeacher):
    """An exponential moving average of the learner (Tarvainen & Valpola 2017), in evaluation mode.

    Each `update` moves every parameter and floating-point buffer by
    `average <- decay * average + (1 - decay) * learner`; integer and boolean buffers (counters) are copied.

    Args:
        learner: an `nn.Module` learner; the average starts as a copy of it.
        decay: in (0, 1).
        warmup: use `min(decay, (1 + s) / (10 + s))` after `s` updates, so that the random initialisation decays fast.
        view: name of the view of the batch that it reads, where the batch has that view.

    Raises:
        ConfigError: `decay` is out of range, or so close to 1 that the learner's precision rounds the updates away.
    """

    kind = "an average of the learner"
    frozen = False

    def __init__(self, learner: Any, *, decay: float, warmup: bool = True, view: str | None = None) -> None:
        check_range("ema_decay", decay, above=0.0, below=1.0)
        _check_precision(learner, decay)
        super().__init__(frozen_copy(learner), view=view)
        self.decay, self.warmup = decay, warmup
        self.updates = 0

    @property
    def momentum(self) -> float:
        """The decay of the next update."""
        return min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.warmup else self.decay

    @torch.no_grad()
    def update(self, learner: nn.Module) -> None:
        """Move the average towards the learner; call it after each optimizer step."""
        weight = 1.0 - self.momentum
        averages, values = _tensors(self.learner), _tensors(learner)
        moved = [i for i, tensor in enumerate(averages) if tensor.is_floating_point()]
        if len(moved) < len(averages):
            kept = [i for i, tensor in enumerate(averages) if not tensor.is_floating_point()]
            torch._foreach_copy_([averages[i] for i in kept], [values[i] for i in kept])  # pyright: ignore[reportPrivateImportUsage]
            averages, values = [averages[i] for i in moved], [values[i] for i in moved]
        torch._foreach_lerp_(averages, values, weight)  # pyright: ignore[reportPrivateImportUsage]
        self.updates += 1

    def state_dict(self) -> State:
        """The average and the number of updates."""
        return {"learner": self.learner.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: State, /) -> None:
        """Take back what `state_dict` gave."""
        self.learner.load_state_dict(state["learner"])
        self.updates = int(state["updates"])


class AveragingMethod(Method):
    """A method that delivers a moving average of its student, which may be its teacher.

    Args:
        learner: the student.
        decay: see `EmaTeacher`.
    """

    def __init__(self, learner: Learner, decay: float) -> None:
        self.learner = learner
        self.teacher = EmaTeacher(learner, decay=decay)

    @property
    def delivered(self) -> Learner:
        """The averaged student."""
        return self.teacher.learner

    def after_step(self) -> None:
        """Update the average."""
        self.teacher.update(self.learner)


class LaggingTeacher(ModelTeacher):
    """A control: the learner as it was between `lag` and `2 * lag - 1` updates ago, in evaluation mode.

    A delay of exactly `lag` updates would need `lag` copies of the learner; two snapshots, taken every `lag` updates,
    bound the delay on both sides. For the first `2 * lag` updates it is the initial learner.

    Args:
        learner: an `nn.Module` learner.
        lag: at least 1, in updates.
        view: name of the view of the batch that it reads, where the batch has that view.

    Raises:
        ConfigError: `lag` is less than 1.
    """

    kind = "a lagging copy of the learner"
    frozen = False

    def __init__(self, learner: Any, *, lag: int, view: str | None = None) -> None:
        check_range("lag", lag, at_least=1)
        super().__init__(frozen_copy(learner), view=view)
        self.lag = lag
        self.updates = 0
        self._next = [tensor.detach().clone() for tensor in _tensors(learner)]

    @torch.no_grad()
    def update(self, learner: nn.Module) -> None:
        """Count an optimizer step, and take a snapshot every `lag` steps."""
        self.updates += 1
        if self.updates % self.lag == 0:
            torch._foreach_copy_(_tensors(self.learner), self._next)  # pyright: ignore[reportPrivateImportUsage]
            torch._foreach_copy_(self._next, _tensors(learner))  # pyright: ignore[reportPrivateImportUsage]

    def to(self, device: torch.device | str) -> "LaggingTeacher":
        """Move both snapshots, in place."""
        self._next = [tensor.to(device) for tensor in self._next]
        return super().to(device)

    def state_dict(self) -> State:
        """Both snapshots and the number of updates."""
        return {"learner": self.learner.state_dict(), "next": list(self._next), "updates": self.updates}

    def load_state_dict(self, state: State, /) -> None:
        """Take back what `state_dict` gave."""
        self.learner.load_state_dict(state["learner"])
        torch._foreach_copy_(self._next, list(state["next"]))  # pyright: ignore[reportPrivateImportUsage]
        self.updates = int(state["updates"])


def frozen_copy(learner: nn.Module) -> nn.Module:
    """A frozen copy in evaluation mode."""
    return copy.deepcopy(learner).eval().requires_grad_(False)


def _tensors(module: nn.Module) -> list[Tensor]:
    """All parameters and buffers, each once, in an order that copies of a module share."""
    # Collected at each update: moving a module to a device replaces its buffers by other tensors. Not by parameters()
    # and buffers(), which take as long as a third of the update of ten million parameters.
    parts: list[nn.Module | None] = [module]
    found: dict[int, Tensor] = {}
    for part in parts:
        if part is None:
            continue
        parts += part._modules.values()
        for kept in (part._parameters, part._buffers):
            for tensor in kept.values():
                if tensor is not None:
                    found[id(tensor)] = tensor
    return list(found.values())


def _check_precision(learner: nn.Module, decay: float) -> None:
    for name, parameter in learner.named_parameters():
        if parameter.is_floating_point() and torch.finfo(parameter.dtype).eps > 1.0 - decay:
            raise ConfigError(
                f"ema_decay is {decay!r}, but the learner's {name} is {parameter.dtype}, in which such small steps are "
                "rounded away. Keep the learner in float32 (precision 'bf16' computes in bfloat16 all the same)."
            )
