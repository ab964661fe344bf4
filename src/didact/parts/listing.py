"""What there is of each kind of part, in words, as `didact list` prints it; nothing is imported.

Everything is found by its path: a kind of student, teacher or verifier is a file of `didact/parts`, a monitor the class
`LossSpike` in `health/loss_spike.py`, a curriculum likewise, and a world a function in `worlds/`.
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
    """A kind of part, in words."""

    name: str
    form: str
    """How it is written, with its arguments; ` | ` parts alternatives."""
    help: str
    """What it is, in a sentence."""
    materials: tuple[str, ...] = ()
    """What it is for, such as `examples` and `questions`; empty where that makes no difference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """All kinds of one part."""

    use: str
    """How one is asked for."""
    find: Callable[[], Iterator[Entry]]
    """Gives them, in alphabetical order."""


def _specs(role: str) -> Iterator[Entry]:
    """Kinds that specs are written of."""
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
    """The classes that are called like their files: the name, all that they state, nearest first, and what they are."""
    for path in sorted((PACKAGE / folder).glob("*.py")):
        found = lineage(path, _class_of(path.stem))
        if found and found[0][0] == path:
            words = (ast.get_docstring(found[0][1]) or "").partition("\n\n")[0]
            yield path.stem, [node for _, one in found for node in one.body], " ".join(words.split())


def _class_of(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def _made(stated: list[ast.stmt]) -> ast.FunctionDef:
    """The nearest constructor."""
    return next(node for node in stated if isinstance(node, ast.FunctionDef) and node.name == "__init__")


def _literal(stated: list[ast.stmt], name: str) -> Any:
    """What a name is given first."""
    given = [(node.target, node.value) for node in stated if isinstance(node, ast.AnnAssign) and node.value]
    given = [(node.targets[0], node.value) for node in stated if isinstance(node, ast.Assign)] + given
    return next(ast.literal_eval(value) for target, value in given if ast.unparse(target) == name)


LISTINGS = {
    "students": Listing(use="--student SPEC", find=lambda: _specs("student")),
    "teachers": Listing(use="--teacher SPEC; every student can be one, too", find=lambda: _specs("teacher")),
    "verifiers": Listing(use="--verifier SPEC", find=lambda: _specs("verifier")),
    "worlds": Listing(use="--data NAME", find=_worlds),
    "monitors": Listing(use="--monitors loss_spike=roll_back,effective_rank=off", find=_monitors),
    "views": Listing(use="--augment NAME, and the views that a method asks for", find=_views),
    "curricula": Listing(use="from Python: BatchSource(examples, curriculum=ByLoss(examples.size))", find=_curricula),
}
"""What can be listed, by the name of the part."""
