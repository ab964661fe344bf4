"""Worlds: small real data sets and simulators, on which a claim can be checked in seconds.

The world `family:option` is the function `option` in the file or folder `family`, and the world `family` is the
function of that name. A world takes nothing and is annotated to return `Examples` or `Questions`. Nothing is
registered; a world's file is imported when it is loaded.

A world's docstring states what is real, what is simulated, and what is known about the solution. Examples that are made
from the same real one have the same number in the tensor `group`, by which splits keep them together.
"""

import ast
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from didact.errors import ConfigError, nearest
from didact.options import parse

if TYPE_CHECKING:
    from didact.types import Examples, Questions

Kind = Literal["examples", "questions"]
_KINDS: dict[str, Kind] = {"Examples": "examples", "Questions": "questions"}
"""The kind of a world, by the annotation of its function."""
_FOLDER = Path(__file__).parent

__all__ = ["Kind", "World", "describe", "load", "names"]


@dataclass(frozen=True, slots=True)
class World:
    """The description of a world."""

    name: str
    kind: Kind
    """Whether it has `examples`, or `questions` for language models."""
    summary: str
    """The task, as a sentence."""
    real: str
    """Its real parts, and their source."""
    simulated: str
    """Its simulated parts, and how they were made."""
    known: str
    """The known facts about the solution."""
    path: Path
    """The file with its function."""

    @property
    def make(self) -> "Callable[[], Examples | Questions]":
        """Its function, imported from its file."""
        module = ".".join(["didact.worlds", *self.path.relative_to(_FOLDER).with_suffix("").parts])
        return getattr(importlib.import_module(module), self.name.rpartition(":")[2])


def names(kind: Kind | None = None) -> tuple[str, ...]:
    """The names of all worlds, sorted.

    Args:
        kind: those of `examples` alone, or those of `questions` for language models; all by default.
    """
    return tuple(name for name, world in _worlds().items() if kind in (None, world.kind))


@overload
def load(name: str, kind: Literal["examples"]) -> "Examples": ...
@overload
def load(name: str, kind: Literal["questions"]) -> "Questions": ...
@overload
def load(name: str, kind: None = None) -> Any: ...
def load(name: str, kind: Kind | None = None) -> "Examples | Questions":
    """The examples of a world, or its questions.

    Args:
        name: one of `names(kind)`.
        kind: the required kind: `examples`, or `questions` for language models; any by default.

    Returns:
        `Examples` or `Questions`, loaded once per process; do not change them in place.

    Raises:
        ConfigError: an unknown name, for which the nearest is suggested, or a world of the other kind.
        MissingExtraError: a package that the world needs is not installed.
        DataError: this Python lacks the source files that a world reads.
    """
    world = describe(name)
    if kind not in (None, world.kind):
        other = "questions for language models" if world.kind == "questions" else "examples without questions"
        raise ConfigError(f"world is {name!r}, which has {other}; those with {kind} are {', '.join(names(kind))}.")
    return world.make()


def describe(name: str) -> World:
    """Describe a world from its docstring; nothing is loaded.

    Args:
        name: one of `names()`.

    Raises:
        ConfigError: an unknown name; the nearest is suggested.
    """
    if name not in _worlds():
        raise ConfigError(f"There is no world {name!r}. {nearest(name, names())} `didact list worlds` prints them.")
    return _worlds()[name]


@cache
def _worlds() -> dict[str, World]:
    found: dict[str, World] = {}
    paths = [path for path in _FOLDER.rglob("*.py") if not path.name.startswith("_")]
    for path, node in ((file, node) for file in paths for node in parse(file)[1].body):
        if not isinstance(node, ast.FunctionDef) or node.name.startswith("_") or node.args.args or not node.returns:
            continue
        kind = _KINDS.get(ast.unparse(node.returns))
        if kind is not None:
            family = path.relative_to(_FOLDER).parts[0].removesuffix(".py")
            name = family if node.name == family else f"{family}:{node.name}"
            paragraphs = [" ".join(part.split()) for part in (ast.get_docstring(node) or "").split("\n\n")]
            parts = {head: rest for head, _, rest in (part.partition(": ") for part in paragraphs[1:])}
            found[name] = World(name, kind, paragraphs[0], parts["Real"], parts["Simulated"], parts["Known"], path)
    return dict(sorted(found.items()))
