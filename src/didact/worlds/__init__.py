"""Worlds: small real data and simulators on which a claim can be checked in seconds.

The world `family:option` is the function `option` in the file or folder `family`, and the world `family` is the
function of that name. A world takes nothing and is annotated to return `Examples` or `Questions`. Nothing is
registered; a world's file is imported when it is loaded.

A world's docstring says what in it is real, what is simulated, and what is known about the answer. Examples that are
made from the same real one have the same number in the tensor `group`, by which splits keep them together.
"""

import ast
import importlib
from collections.abc import Callable, Iterator
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
"""What a world holds, by the annotation of its function."""
_FOLDER = Path(__file__).parent

__all__ = ["Kind", "World", "describe", "load", "names"]


@dataclass(frozen=True, slots=True)
class World:
    """What a world is, in words."""

    name: str
    kind: Kind
    """Whether it holds `examples`, or `questions` for language models."""
    summary: str
    """What is to be learned, as a sentence."""
    real: str
    """What in it is real, and where it comes from."""
    simulated: str
    """What in it was made up, and how."""
    known: str
    """What is known about the answer."""
    path: Path
    """The file that makes it."""

    @property
    def make(self) -> "Callable[[], Examples | Questions]":
        """What makes it; its file is imported."""
        module = ".".join(["didact.worlds", *self.path.relative_to(_FOLDER).with_suffix("").parts])
        return getattr(importlib.import_module(module), self.name.rpartition(":")[2])


def names(kind: Kind | None = None) -> tuple[str, ...]:
    """The worlds that there are, sorted.

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
        kind: what it must have: `examples`, or `questions` for language models; either by default.

    Returns:
        `Examples` or `Questions`, loaded once a process; change nothing of them in place.

    Raises:
        ConfigError: an unknown name, of which the nearest is offered, or a world of the other kind.
        MissingExtraError: a package that the world needs is not installed.
        DataError: this Python comes without the files that a world reads.
    """
    world = describe(name)
    if kind not in (None, world.kind):
        other = "questions for language models" if world.kind == "questions" else "examples without questions"
        raise ConfigError(f"world is {name!r}, which has {other}; those with {kind} are {', '.join(names(kind))}.")
    return world.make()


def describe(name: str) -> World:
    """What a world is, from its docstring; nothing is loaded.

    Args:
        name: one of `names()`.

    Raises:
        ConfigError: an unknown name; the nearest is offered.
    """
    if name not in _worlds():
        raise ConfigError(f"There is no world {name!r}. {nearest(name, names())} `didact list worlds` prints them.")
    return _worlds()[name]


@cache
def _worlds() -> dict[str, World]:
    paths = [path for path in _FOLDER.rglob("*.py") if not path.name.startswith("_")]
    return {world.name: world for world in sorted((w for path in paths for w in _in(path)), key=lambda w: w.name)}


def _in(path: Path) -> Iterator[World]:
    """The worlds that a file makes."""
    family = path.relative_to(_FOLDER).parts[0].removesuffix(".py")
    for node in parse(path)[1].body:
        if not isinstance(node, ast.FunctionDef) or node.name.startswith("_") or node.args.args or not node.returns:
            continue
        kind = _KINDS.get(ast.unparse(node.returns))
        if kind is not None:
            name = family if node.name == family else f"{family}:{node.name}"
            paragraphs = [" ".join(part.split()) for part in (ast.get_docstring(node) or "").split("\n\n")]
            parts = {head: rest for head, _, rest in (part.partition(": ") for part in paragraphs[1:])}
            yield World(name, kind, paragraphs[0], parts["Real"], parts["Simulated"], parts["Known"], path)
