"""Experiments: runs and comparisons, from a configuration to results.

The names below are imported on first use, so reading a configuration does not import torch.
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
