"""Peak memory of a piece of work in this process, where Linux tells it."""

import gc
import re
from collections.abc import Callable
from pathlib import Path

import pytest

MIB = 1 << 20


def peak_of(work: Callable[[], object]) -> float:
    """By how many MiB resident memory rose above what it was before, at most, while something was done."""
    gc.collect()
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pytest.skip("this system does not reset a process's peak of memory")
    before = _resident("VmRSS")
    work()
    return _resident("VmHWM") - before


def _resident(which: str) -> float:
    found = re.search(rf"{which}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) / 1024
