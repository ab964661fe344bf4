"""Counting of floating-point operations."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from didact.documents import Values
from didact.types import Batch, Teacher

T = TypeVar("T")


def count_flops(compute: Callable[[], T], teachers: Sequence[Teacher]) -> tuple[T, int]:
    """Call a function and count the operations of its matrix products and convolutions.

    Those of teachers are left out: signals may come from a cache at one step and not at the next, and their cost is
    counted in calls.

    Args:
        compute: the function; it is called once.
        teachers: the teachers that it calls.

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
    """Counts by torch's own formulas, without changing any operation.

    torch's `FlopCounterMode` decomposes some operations, so that the last digits change, and its module hooks take half
    as long as the step of a small language model, whose completions keep having new lengths.
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
    """A context in which the teacher's signals are not counted."""
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
