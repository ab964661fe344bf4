"""Devices, precision and memory."""

import contextlib
import resource
import sys
from pathlib import Path
from typing import Literal

import torch

from didact.errors import ConfigError

Precision = Literal["auto", "float32", "bfloat16"]


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
