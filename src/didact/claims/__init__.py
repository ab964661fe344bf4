"""Claims of papers about their methods: replicated, decided, and stored with everything that they rest on.

The names below are imported on first use, so reading stored results does not import torch.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "Replication": "result",
    "ResultStore": "store",
    "catalogue_entry": "entries",
    "replicate": "replicating",
}

__all__ = [*_HOMES]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
