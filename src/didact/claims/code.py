"""Digests of the code that a claim's figures come from, so that a result is stale once that code changes.

Dependencies within didact are followed definition by definition: from the file of each arm's method, from the world,
and from the kinds of students, teachers and verifiers that the claim names. A new definition in the same file makes
nothing stale, nor do comments, docstrings and the claims themselves, since no figure depends on them. Of the rooms that
serve many claims in many ways, such as the sampling of completions, only the functions count that the arms called. Code
that every run shares (types, loop, splits, configuration) is not followed: it has tests of its own, and the commit is
stored.
"""

import ast
import contextlib
import copy
import hashlib
import io
import tokenize
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from didact import catalogue, parts, worlds
from didact.claiming import Claim
from didact.documents import Values
from didact.errors import ConfigError
from didact.options import parse

PACKAGE = Path(__file__).parent.parent
_NOT_FOLLOWED = frozenset({"cli", "claims", "claiming.py", "errors.py", "types"})
"""Code that checks, prints or stores, or that every run shares."""
_SHARED = frozenset({"learners", "parts", "rollouts", "teachers", "documents.py", "files.py", "trusting.py"})
"""Rooms and files of which a claim runs a part, which is recorded."""
_REPORTS = frozenset({"report.py", "charts.py", "sections.py", "wording.py", "phrases.py"})

_Part = tuple[Path, str | None]
"""A name that a file defines, or all of the file."""


def digests(claim: Claim, ran: Mapping[str, Sequence[str]] | None = None) -> dict[str, str]:
    """The code that a claim's arms run, by content.

    Args:
        claim: its arms may name methods of didact or custom ones.
        ran: the functions that they called, see `recording.recorded`; by default all that they might call.

    Returns:
        By path (within didact, or the name of a file elsewhere), 16 hexadecimal digits of the used code, sorted.

    Raises:
        ConfigError: A file cannot be read as Python.
    """
    start: list[_Part] = [(catalogue.find(name).path, None) for name in methods(claim)]
    found = closure([*start, *_kinds(claim), *_world(claim.world)], ran)
    return {_name(path): _hash("\n".join(sorted(texts))) for path, texts in sorted(found.items())}


def shared(ran: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """What was called of rooms that serve many claims, by path."""
    return {path: names for path, names in ran.items() if path.partition("/")[0] in _SHARED}


def changed_paths(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The paths that were added, removed or changed."""
    return sorted(path for path in {*before, *now} if before.get(path) != now.get(path))


def methods(claim: Claim) -> list[str]:
    """The methods of a claim's arms, without the cheap baselines."""
    # A teacher such as mlp:64 is trained by plain training on labels, whatever the arms are.
    return sorted({*methods_in(claim.arms.values()), "supervised"})


def methods_in(arms: Iterable[str | Values]) -> set[str]:
    """The methods among some arms, without the cheap baselines."""
    return {name for name in map(method_of, arms) if _is_method(name)}


def method_of(arm: str | Values) -> str:
    """The method, or cheap baseline, of an arm."""
    return str(arm.get("method", "")) if isinstance(arm, Mapping) else arm.partition(",")[0].strip()


def closure(start: Iterable[_Part], ran: Mapping[str, Sequence[str]] | None = None) -> dict[Path, set[str]]:
    """The definitions within didact that some parts use, directly or indirectly.

    Args:
        start: files, each with a name that it defines, or None for all that it defines.
        ran: see `digests`.

    Returns:
        By file, the texts of the statements that define them, without comments and docstrings.
    """
    found: dict[Path, set[str]] = {}
    seen: set[_Part] = set()
    left = list(start)
    while left:
        part = left.pop()
        if part not in seen and not _left_out(part[0]):
            seen.add(part)
            name = _name(part[0])
            called = frozenset(ran.get(name, ())) if ran is not None and shared({name: ()}) else None
            texts, used = _direct(part[0], part[1], called, part[0].stat().st_mtime_ns)
            if texts:
                found.setdefault(part[0], set()).update(texts)
            left.extend(used)
    return found


@cache
def _direct(
    path: Path, name: str | None, called: frozenset[str] | None, modified: int
) -> tuple[frozenset[str], frozenset[_Part]]:
    """The texts of a part's definitions, and the parts that they use; of functions those that were called."""
    module = _read(path, modified)
    statements = module.of(name)
    if called is not None:
        statements = [left for statement in statements if (left := _called(statement, called)) is not None]
    used = [one for statement in statements for one in _used(statement, module.imports)]
    texts = {*map(module.text, statements), *(one for one in used if isinstance(one, str))}
    return frozenset(texts), frozenset((one[0] or path, one[1]) for one in used if not isinstance(one, str))


@dataclass(frozen=True)
class _Module:
    """The definitions of a Python file."""

    lines: list[str]
    """Without comments, docstrings and the claim."""
    defined: dict[str, list[ast.stmt]]
    always: list[ast.stmt]
    """Statements that define nothing, but run on import."""
    imports: dict[str, tuple[str, str | None]]
    """By local name, the module, and the name in it, or None for the module itself."""

    def of(self, name: str | None) -> list[ast.stmt]:
        """The statements that define a name, or all; and those that always run."""
        wanted = [name] if name is not None else list(self.defined)
        return [*self.always, *(statement for one in wanted for statement in self.defined.get(one, ()))]

    def text(self, statement: ast.stmt) -> str:
        """A statement without comments, docstrings and blank lines."""
        numbers = _numbers(statement)
        if isinstance(statement, ast.ClassDef) and statement.body:
            # Some of its methods may have been left out.
            last = max([statement.lineno, *(one.end_lineno or 0 for one in (*statement.bases, *statement.keywords))])
            last += self.lines[last].strip() == "):" if last < len(self.lines) else 0
            inner = {number for one in statement.body for number in _numbers(one)}
            numbers = sorted(inner.union(range(numbers[0], last + 1)))
        lines = [self.lines[number - 1].rstrip() for number in numbers]
        return "\n".join(line for line in lines if line)


@cache
def _read(path: Path, _modified: int) -> _Module:
    source, tree = parse(path)
    module = _Module(_bare(source, tree), {}, [], {})
    for statement in tree.body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            module.imports.update(_bindings(statement))
        elif names := _defines(statement):
            for name in names:
                module.defined.setdefault(name, []).append(statement)
        elif not (_is_words(statement) or "TYPE_CHECKING" in ast.unparse(getattr(statement, "test", ast.Pass()))):
            module.always.append(statement)
    module.defined.pop("CLAIM", None)
    return module


def _bare(source: str, tree: ast.Module) -> list[str]:
    """The lines of a file, emptied of comments, docstrings and the claim."""
    lines = source.splitlines()
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt) and _is_words(node):
            for number in range(node.lineno - 1, node.end_lineno or node.lineno):
                lines[number] = ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        row, column = token.start
        if token.type == tokenize.COMMENT and lines[row - 1]:
            lines[row - 1] = lines[row - 1][:column]
    return lines


def _numbers(statement: ast.stmt) -> range:
    """The numbers of a statement's lines, with those of its decorators."""
    first = min([statement.lineno, *(one.lineno for one in getattr(statement, "decorator_list", ()))])
    return range(first, (statement.end_lineno or first) + 1)


def _called(statement: ast.stmt, called: frozenset[str]) -> ast.stmt | None:
    """What counts of a definition: a function if it was called, a class with those of its methods that were.

    A function whose results are cached may have been called before, and a class without methods has nothing to call.
    """
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
        cached = any("cache" in ast.unparse(one) for one in statement.decorator_list)
        return statement if cached or statement.name in called else None
    if not isinstance(statement, ast.ClassDef):
        return statement
    methods = [one for one in statement.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
    left = [one for one in methods if f"{statement.name}.{one.name}" not in called]
    if methods and len(left) == len(methods) and not statement.decorator_list:
        return None
    kept = copy.copy(statement)
    kept.body = [one for one in statement.body if one not in left]
    return kept


def _is_words(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _defines(statement: ast.stmt) -> list[str]:
    """The names that a statement at the top of a file defines."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return [
        node.id for target in targets if target is not None for node in ast.walk(target) if isinstance(node, ast.Name)
    ]


def _bindings(statement: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, tuple[str, str | None]]]:
    """The local names that an import binds, each with its target."""
    for alias in statement.names:
        if isinstance(statement, ast.ImportFrom):
            yield alias.asname or alias.name, (statement.module or "", alias.name)
        else:
            yield alias.asname or alias.name.split(".")[0], (alias.name, None)


def _used(
    statement: ast.stmt, imports: Mapping[str, tuple[str, str | None]]
) -> Iterator[str | tuple[Path | None, str | None]]:
    """What a statement uses: foreign imports as text, parts of didact, and names of its own file (without a path)."""
    nodes = list(ast.walk(statement))
    inner = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    known = {**imports, **{name: home for node in inner for name, home in _bindings(node)}}
    bases = {id(node.value): node.attr for node in nodes if isinstance(node, ast.Attribute)}
    for node in nodes:
        if not isinstance(node, ast.Name):
            continue
        if node.id not in known:
            yield None, node.id
            continue
        module, name = known[node.id]
        if module.split(".")[0] != "didact":
            yield f"{node.id} is {module} {name}"
        elif (part := _home(module, name, bases.get(id(node)))) is not None:
            yield part


def _home(module: str, name: str | None, attribute: str | None = None) -> _Part | None:
    """The file that defines a name of a module, and the name there; re-exports by packages are followed.

    Args:
        module: in didact.
        name: in the module; None for the module itself.
        attribute: the attribute that is used, if the name is a module.
    """
    inner = _file(module if name is None else f"{module}.{name}")
    if inner is not None:
        found = module if name is None else f"{module}.{name}"
        return (inner, None) if attribute is None else _home(found, attribute)
    own = _file(module)
    if own is None:
        return None
    passed = _read(own, own.stat().st_mtime_ns).imports.get(name or "")
    if own.name == "__init__.py" and passed is not None and passed[0].split(".")[0] == "didact":
        return _home(*passed)
    return own, name


def _file(module: str) -> Path | None:
    base = PACKAGE.parent.joinpath(*module.split("."))
    return next((path for path in (base / "__init__.py", base.with_suffix(".py")) if path.is_file()), None)


def _world(name: str) -> list[_Part]:
    """The function that makes a world; all files of worlds if none has its name."""
    if name in worlds.names():
        return [(worlds.describe(name).path, name.rpartition(":")[2])]
    return [(path, None) for path in sorted((PACKAGE / "worlds").rglob("*.py"))]


def _kinds(claim: Claim) -> Iterator[_Part]:
    """The files of the kinds of parts that a claim's settings and arms name."""
    for arm in (claim.settings, *claim.arms.values()):
        words = [word.partition("=") for word in arm.split(",")] if isinstance(arm, str) else []
        given = {name: value for name, _, value in words} if isinstance(arm, str) else arm
        for role in parts.ROLES:
            text = given.get(role)
            # A spec that cannot be read is reported by the run.
            with contextlib.suppress(ConfigError):
                for spec in parts.parse(text, role).walk() if isinstance(text, str) else ():
                    yield parts.find(spec.role, spec.kind).path, None


@cache
def _left_out(path: Path) -> bool:
    if not path.is_relative_to(PACKAGE):
        return False
    room, *inner = path.relative_to(PACKAGE).parts
    # Every run shares the reading of specs, but not the files of the kinds.
    reading = room == "parts" and len(inner) == 1
    return room in _NOT_FOLLOWED or reading or (room == "evaluation" and inner[-1] in _REPORTS)


@cache
def _name(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix() if path.is_relative_to(PACKAGE) else path.name


def _is_method(name: str) -> bool:
    try:
        return bool(catalogue.find(name))
    except ConfigError:
        return False


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
