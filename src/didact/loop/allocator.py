"""What glibc's allocator keeps of freed memory, on a CPU.

It takes blocks of up to 32 MiB from a heap, which doesn't shrink while anything behind a hole is in use. Where weights
are large, activations and gradients of a few MiB leave half as much again in such holes. Larger blocks are given back
at once. Taking these costs time where operations on them are cheap, as convolutions are, and next to none where they
are products with large weights.
"""

import contextlib
import ctypes
import sys
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

MANY = 256 << 20
"""Bytes of weights from which on large blocks are given back."""
LARGE = 1 << 20
"""Bytes of a large block."""
_MOST = 32 << 20
"""Bytes of the largest block that glibc takes from the heap; see mallopt(3)."""
_TRIM, _MAP = -1, -3
"""M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h."""


def kept(weights: int) -> int:
    """The bytes of freed memory that may be kept at the end of the heap, for so many bytes of weights."""
    return 2 * (LARGE if weights >= MANY else _MOST)


def size_of(tensors: Iterable[Tensor]) -> int:
    """The bytes of tensors, of which several may share some."""
    return sum({one.untyped_storage().data_ptr(): one.nbytes for one in tensors}.values())


@contextlib.contextmanager
def blocks_returned(weights: int, device: torch.device) -> Iterator[None]:
    """Let freed blocks of 1 MiB and more be the system's again, where there are many bytes of weights on a CPU.

    Without glibc it does nothing. Afterwards, blocks are taken from the heap as far as glibc lets them.

    Args:
        weights: their bytes.
        device: where they are.
    """
    glibc = ctypes.CDLL(None) if sys.platform == "linux" and device.type == "cpu" and weights >= MANY else None
    if glibc is None or not hasattr(glibc, "mallopt"):
        yield
        return
    glibc.malloc_trim(0)
    try:
        _draw_line(glibc, LARGE)
        yield
    finally:
        _draw_line(glibc, _MOST)


def _draw_line(glibc: ctypes.CDLL, size: int) -> None:
    """From which size on blocks are not taken from the heap, and twice of which its end may be free."""
    glibc.mallopt(_MAP, size)
    glibc.mallopt(_TRIM, 2 * size)
