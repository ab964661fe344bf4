"""Listings of the available parts, as `didact list` prints them; nothing is imported.

Parts are found by their path: a kind of student, teacher or verifier is a file of `didact/parts`, a monitor is a class
such as `LossSpike` in `health/loss_spike.py`, a curriculum likewise, and a world is a function in `worlds/`.
"""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from didact import worlds
from didact.options import PACKAGE, lineage, parse
from didact.parts.kinds import kinds


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """The description of a kind of part."""

    name: str
    form: str
    """Its form with arguments; ` | ` separates alternatives."""
    help: str
    """Its description, one sentence."""
    materials: tuple[str, ...] = ()
    """Its materials, such as `examples` and `questions`; empty for all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """All kinds of one role."""

    use: str
    """How one is selected."""
    find: Callable[[], Iterator[Entry]]
    """Yields them in alphabetical order."""


def _specs(role: str) -> Iterator[Entry]:
    """The kinds of a role with specs."""
    for kind in kinds(role).values():
        yield Entry(name=kind.name, form=kind.form, help=kind.help, materials=kind.materials)


def _worlds() -> Iterator[Entry]:
    for name in worlds.names():
        world = worlds.describe(name)
        yield Entry(name=name, form=name, help=world.summary, materials=(world.kind,))


def _curricula() -> Iterator[Entry]:
    for name, stated, words in _classes("curricula"):
        arguments = ast.unparse(_made(stated).args).removeprefix("self, ")
        yield Entry(name=name, form=f"{_class_of(name)}({arguments})", help=words)


def _monitors() -> Iterator[Entry]:
    for name, stated, words in _classes("health"):
        options = _made(stated).args
        defaults = dict(zip([option.arg for option in options.kwonlyargs], options.kw_defaults, strict=True))
        action = ast.literal_eval(defaults["action"] or ast.Constant("warn"))
        yield Entry(name=name, form=f"{name}={action}", help=words, materials=_literal(stated, "materials"))


def _views() -> Iterator[Entry]:
    views = _literal(parse(PACKAGE / "sources" / "augment.py")[1].body, "VIEWS")
    yield from (Entry(name=name, form=name, help=words) for name, words in views.items())


def _classes(folder: str) -> Iterator[tuple[str, list[ast.stmt], str]]:
    """The classes named like their files: the name, the statements of the class and its bases, and the summary."""
    for path in sorted((PACKAGE / folder).glob("*.py")):
        found = lineage(path, _class_of(path.stem))
        if found and found[0][0] == path:
            words = (ast.get_docstring(found[0][1]) or "").partition("\n\n")[0]
            yield path.stem, [node for _, one in found for node in one.body], " ".join(words.split())


def _class_of(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def _made(stated: list[ast.stmt]) -> ast.FunctionDef:
    """The first constructor in the class and its bases."""
    return next(node for node in stated if isinstance(node, ast.FunctionDef) and node.name == "__init__")


def _literal(stated: list[ast.stmt], name: str) -> Any:
    """The first value that is assigned to a name."""
    given = [(node.target, node.value) for node in stated if isinstance(node, ast.AnnAssign) and node.value]
    given = [(node.targets[0], node.value) for node in stated if isinstance(node, ast.Assign)] + given
    return next(ast.literal_eval(value) for target, value in given if ast.unparse(target) == name)


LISTINGS = {
    "students": Listing(use="--student SPEC", find=lambda: _specs("student")),
    "teachers": Listing(use="--teacher SPEC; every student can be a teacher, too", find=lambda: _specs("teacher")),
    "verifiers": Listing(use="--verifier SPEC", find=lambda: _specs("verifier")),
    "environments": Listing(use="--environment SPEC", find=lambda: _specs("environment")),
    "worlds": Listing(use="--data NAME", find=_worlds),
    "monitors": Listing(use="--monitors loss_spike=roll_back,effective_rank=off", find=_monitors),
    "views": Listing(use="--augment NAME, and the views that a method asks for", find=_views),
    "curricula": Listing(use="from Python: BatchSource(examples, curriculum=ByLoss(examples.size))", find=_curricula),
}
"""The listings, by the name of the part."""
