"""Counting the floating-point operations of a step."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from torch.utils.flop_counter import FlopCounterMode

from didact.types import Batch, Rollout, Teacher

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
    asked: list[int] = []
    with contextlib.ExitStack() as stack:
        counter = stack.enter_context(FlopCounterMode(display=False))
        for teacher in teachers:
            stack.enter_context(_apart(teacher, asked))
        result = compute()
    return result, counter.get_total_flops() - sum(asked)


@contextlib.contextmanager
def _apart(teacher: Any, asked: list[int]) -> Iterator[None]:
    """While this lasts, note what each answer of a teacher takes."""
    answer = teacher.signal

    def signal(batch: Batch, attempt: Rollout | None = None) -> Any:
        with FlopCounterMode(display=False) as counter:
            found = answer(batch, attempt)
        asked.append(counter.get_total_flops())
        return found

    teacher.signal = signal
    try:
        yield
    finally:
        del teacher.signal
