"""Packages that only some data need."""

import importlib
from typing import Any

from didact.errors import MissingExtraError


def import_optional(module: str, extra: str, purpose: str, package: str | None = None) -> Any:
    """Import a module of an optional package.

    Args:
        module: what is imported, such as `PIL.Image`.
        extra: the extra of didact that brings it.
        purpose: what it is needed for, as the beginning of a sentence.
        package: its name in the package index, where that is not the module's.

    Returns:
        The module.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise MissingExtraError(package or module.split(".")[0], extra, purpose) from None
