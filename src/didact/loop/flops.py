"""Counting the floating-point operations of a step."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from didact.documents import Values
from didact.types import Batch, Teacher

T = TypeVar("T")


def count_flops(compute: Callable[[], T], teachers: Sequence[Teacher]) -> tuple[T, int]:
    """Compute something and count the operations of its matrix products and convolutions.

    What teachers compute is left out: answers may come from a cache at one step and not at the next, and their cost is
    counted in calls.

    Args:
        compute: is called once.
        teachers: those that it asks.

    Returns:
        Its result, and the number of floating-point operations, a multiplication and an addition being two.
    """
    counter = _Counter()
    with contextlib.ExitStack() as stack:
        for teacher in teachers:
            stack.enter_context(_unheard(teacher, counter))
        with counter:
            result = compute()
    return result, counter.total


class _Counter(TorchDispatchMode):
    """Adds up by torch's own formulas, and leaves every operation as it is.

    Torch's `FlopCounterMode` takes some apart, so that the last digits change, and its hooks in modules take half as
    long as the step of a small language model, whose completions come in ever new lengths.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total, self.listens = 0, True

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Values | None = None
    ) -> Any:
        kwargs = kwargs or {}
        found = func(*args, **kwargs)
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None and self.listens:
            self.total += formula(*args, **kwargs, out_val=found)
        return found


@contextlib.contextmanager
def _unheard(teacher: Any, counter: _Counter) -> Iterator[None]:
    """While this lasts, what the teacher's answers take is not counted."""
    answer = teacher.signal

    def signal(batch: Batch) -> Any:
        before, counter.listens = counter.listens, False
        try:
            return answer(batch)
        finally:
            counter.listens = before

    teacher.signal = signal
    try:
        yield
    finally:
        del teacher.signal
