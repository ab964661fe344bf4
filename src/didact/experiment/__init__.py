"""Experiments: runs and comparisons, from a configuration to figures that can be trusted.

The names below are imported when they are first used: reading a configuration needs no torch.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "Check": "checking",
    "Objects": "material",
    "Run": "material",
    "RunConfig": "config",
    "RunResult": "running",
    "compare": "comparing",
    "diagnose": "doctor",
    "prepare": "preparing",
    "resume": "running",
    "run": "running",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(_HOMES)
