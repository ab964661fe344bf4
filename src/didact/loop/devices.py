"""Devices, precision and memory."""

import contextlib
import ctypes
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch

from didact.errors import ConfigError

Precision = Literal["auto", "float32", "bfloat16"]
MANY_WEIGHTS = 256 << 20
"""Bytes of weights from which on `blocks_returned` does something."""
LARGE_BLOCK = 1 << 20
"""Bytes of the blocks that are given back then."""
_LARGEST = 32 << 20
"""Bytes of the largest block that glibc takes from the heap; see mallopt(3)."""
_TRIM, _MAP = -1, -3
"""M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h."""


def find_device(name: str) -> torch.device:
    """The device of that name; `auto` is the GPU if there is one.

    Raises:
        ConfigError: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device is {name!r}, which is not there; auto or cpu would work.") from error
    return device


def autocast(precision: Precision, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """A context that runs matrix products in bfloat16 if requested; `auto` does on a GPU that supports it."""
    auto = precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported()
    if precision == "bfloat16" or auto:
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


def peak_memory(device: torch.device) -> int:
    """The peak memory allocated on the device, or the peak resident memory of the process on a CPU, in bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def resident_memory(device: torch.device) -> int:
    """The memory of this process in bytes, on a CPU; 0 for other devices, and where it is not known."""
    if device.type != "cpu":
        return 0
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()
    except OSError:
        return 0


def free_memory(device: torch.device) -> int | None:
    """The free memory of a device in bytes; on a CPU that of the machine, and of its container if that has a limit.

    Returns:
        None if it is not known.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type != "cpu":
        return None
    found = [free for free in (_available(), _left_in_container()) if free is not None]
    return min(found, default=None)


def _available() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _left_in_container() -> int | None:
    """The remaining memory of a limit of control groups, version 2."""
    try:
        most = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
        used = Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii").strip()
    except OSError:
        return None
    return max(0, int(most) - int(used)) if most.isdecimal() and used.isdecimal() else None


def heap_kept(weights: int) -> int:
    """The bytes of freed memory that glibc may keep at the end of its heap, for so many bytes of weights."""
    return 2 * (LARGE_BLOCK if weights >= MANY_WEIGHTS else _LARGEST)


@contextlib.contextmanager
def blocks_returned(weights: int, device: torch.device) -> Iterator[None]:
    """Let freed blocks of 1 MiB and more be the system's again, where there are many bytes of weights on a CPU.

    glibc takes blocks of up to 32 MiB from a heap, which doesn't shrink while anything behind a hole is in use. Where
    weights are large, activations and gradients of a few MiB leave a fifth of all memory in such holes. Larger blocks
    are given back at once. Taking these costs time where operations on them are cheap, as convolutions are, and next to
    none where they are products with large weights.

    Without glibc it does nothing. Afterwards, blocks are taken from the heap as far as glibc lets them.

    Args:
        weights: their bytes.
        device: where they are.
    """
    wanted = sys.platform == "linux" and device.type == "cpu" and weights >= MANY_WEIGHTS
    glibc = ctypes.CDLL(None) if wanted else None
    if glibc is None or not hasattr(glibc, "mallopt"):
        yield
        return
    glibc.malloc_trim(0)
    try:
        _take_from_heap(glibc, LARGE_BLOCK)
        yield
    finally:
        _take_from_heap(glibc, _LARGEST)


def _take_from_heap(glibc: ctypes.CDLL, size: int) -> None:
    """Blocks below a size come from the heap, at whose end twice as much may be free."""
    glibc.mallopt(_MAP, size)
    glibc.mallopt(_TRIM, 2 * size)
