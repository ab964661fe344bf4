"""The packages besides the standard library that tests and solutions may import."""

import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Mapping

SHARED = ("numpy",)
"""Packages for solutions and tests."""
RUNNER = ("pytest", "_pytest", "py", "pluggy", "iniconfig", "packaging", "pygments")
"""Packages for tests only."""


class Packages:
    """An import finder for packages at known paths, which lists no directory.

    Args:
        files: the file of each package or module by name.
    """

    def __init__(self, files: Mapping[str, str]) -> None:
        self.files = files

    def find_spec(self, name: str, path: object = None, target: object = None) -> importlib.machinery.ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`."""
        file = self.files.get(name)
        if file is None or path is not None:
            return None
        if name == "numpy":
            os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # each thread reserves memory
        inner = [directory] if (directory := _directory(file)) else None
        return importlib.util.spec_from_file_location(name, file, submodule_search_locations=inner)


def allow(files: Mapping[str, str]) -> list[str]:
    """Make these packages importable, and return the paths that must be readable."""
    sys.meta_path.append(Packages(files))
    places = [_directory(file) or file for file in files.values()]
    return [*places, *(f"{place}.libs" for place in places if os.path.isdir(f"{place}.libs"))]  # noqa: PTH112


def _directory(file: str) -> str:
    """The directory of a package; empty for a module of one file."""
    directory, _, name = file.rpartition("/")
    return directory if name == "__init__.py" else ""
