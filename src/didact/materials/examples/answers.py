"""Signals of teachers on examples, as class scores."""

from collections.abc import Callable

from torch import Tensor

from didact.errors import TeacherError
from didact.types import EMBEDDING, Batch, Features, Labels, Logits, Output, Signal, Teacher


def as_learner(teacher: Teacher) -> Callable[[Batch], Output]:
    """A teacher in the form of a learner, for scoring it: its signals as logits [B, C], or predictions [B, 1].

    It is not shown the labels by which it is scored, as a committee may weigh its members by them. One that is asked on
    demand is scored on every row.
    """
    always = getattr(teacher, "always", teacher)
    return lambda batch: Output(logits_of(always.signal(without_labels(batch))))


def without_labels(batch: Batch) -> Batch:
    """The same batch without its labels."""
    return Batch({name: tensor for name, tensor in batch.items() if name != "label"})


def logits_of(signal: Signal) -> Tensor:
    """The class scores [B, C] in a signal, its embedding [B, D], or its predictions [B, 1].

    Raises:
        TeacherError: The signal holds neither.
    """
    if isinstance(signal, Logits | Features) and signal.logits is not None:
        return signal.logits
    if isinstance(signal, Features) and EMBEDDING in signal.features:
        return signal.features[EMBEDDING]
    if isinstance(signal, Labels) and signal.labels.ndim == 2:
        return signal.labels.clamp(min=1e-12).log()
    if isinstance(signal, Labels) and signal.labels.is_floating_point():
        return signal.labels.unsqueeze(-1)
    raise TeacherError(f"The teacher's signal is {type(signal).__name__}, which has no class scores to evaluate.")
