"""Any student, taught by any teacher.

The names below are imported on first use, so that `import didact` is fast.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Batch": "didact.types",
    "Budget": "didact.loop",
    "Cost": "didact.types",
    "Distiller": "didact.materials.examples.distiller",
    "DistillerRegressor": "didact.materials.examples.distiller",
    "Examples": "didact.types",
    "LoopConfig": "didact.loop",
    "Method": "didact.types",
    "OptimizerConfig": "didact.loop",
    "Output": "didact.types",
    "RunConfig": "didact.experiment",
    "Student": "didact.parts.student",
    "Term": "didact.types",
    "Terms": "didact.types",
    "Validation": "didact.loop",
    "Verdict": "didact.types",
    "adapt": "didact.materials.examples.adapting",
    "compare": "didact.experiment",
    "compress": "didact.materials.examples.compression.compressing",
    "fit": "didact.loop",
    "load": "didact.parts.saved",
    "recommend": "didact.materials.examples.recommending.recommending",
    "resume": "didact.experiment",
    "run": "didact.experiment",
}

__all__ = ["__version__", *_HOMES]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'didact' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
