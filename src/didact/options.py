"""Options: the fields of a frozen dataclass, read from its source without importing it, and converted from strings.

The comment at the end of a field's line is its help on the command line.
"""

import ast
import importlib.util
import io
import tokenize
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, SupportsFloat, SupportsInt

from didact.errors import ConfigError, nearest, shown

PACKAGE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Option:
    """One field of a configuration, as source text."""

    name: str
    type: str
    """The annotation, such as `float` or `Literal["kl", "mse"]`."""
    default: str | None
    """The default as an expression; None if a value is required."""
    help: str
    """The comment at the end of the field's line."""


def read_options(path: Path, class_name: str = "Config") -> tuple[Option, ...]:
    """Read the fields of a dataclass from its source: names, annotations, defaults and trailing comments.

    Args:
        path: the file.
        class_name: the class at the file's top level, or one that it imports; a file without it has no options. Its
            base classes are read too.

    Returns:
        One option per field: those of base classes first, in the order of the source.
    """
    found: dict[str, Option] = {}
    for home, node in reversed(lineage(path, class_name)):
        own = "\n".join(parse(home)[0].split("\n")[node.lineno - 1 : node.end_lineno])
        comments = {
            token.start[0] + node.lineno - 1: token.string.lstrip("#").strip()
            for token in tokenize.generate_tokens(io.StringIO(own).readline)
            if token.type == tokenize.COMMENT
        }
        for line in node.body:
            if not isinstance(line, ast.AnnAssign) or not isinstance(line.target, ast.Name):
                continue
            name, kind = line.target.id, ast.unparse(line.annotation)
            if not kind.startswith("ClassVar"):
                default = None if line.value is None else ast.unparse(line.value)
                # A formatter may put a long default and its comment into parentheses.
                lines = range(line.lineno, (line.end_lineno or line.lineno) + 1)
                found[name] = Option(name, kind, default, " ".join(comments[n] for n in lines if n in comments))
    return tuple(found.values())


def lineage(path: Path, name: str) -> list[tuple[Path, ast.ClassDef]]:
    """A class and its base classes, with their files, nearest first; nothing is imported.

    Args:
        path: a file that defines or imports it.
        name: of the class, as that file writes it, such as `Config` or `grpo.Config`.

    Returns:
        Those whose source can be found; empty if that of the class cannot.
    """
    found = find_class(path, name)
    if found is None:
        return []
    home, node = found
    bases = [one for base in node.bases for one in lineage(home, ast.unparse(base).partition("[")[0])]
    return [found, *bases]


def find_class(path: Path, name: str) -> tuple[Path, ast.ClassDef] | None:
    """Find the definition of a class that a file names; None if its source cannot be found.

    Args:
        path: a file that defines or imports it.
        name: see `lineage`.
    """
    tree, (head, _, rest) = parse(path)[1], name.partition(".")
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return path, node
        for module, inner in _meant(node, head, rest):
            home = _file_of(module)
            if home is not None and inner:
                return find_class(home, inner)
    return None


def _meant(node: ast.stmt, head: str, rest: str) -> Iterator[tuple[str, str]]:
    """The modules that a name may refer to by an import, each with the remaining name to find in it."""
    if not isinstance(node, ast.Import | ast.ImportFrom):
        return
    for alias in node.names:
        if (alias.asname or alias.name) != head:
            continue
        if isinstance(node, ast.Import):
            yield alias.name, rest
        elif node.module and _file_of(f"{node.module}.{alias.name}") is not None:
            yield f"{node.module}.{alias.name}", rest
        elif node.module:
            yield node.module, ".".join(filter(None, [alias.name, rest]))


@cache
def _file_of(module: str) -> Path | None:
    """The file of a module; neither it nor its parent packages are imported."""
    first, *parts = module.split(".")
    try:
        spec = importlib.util.find_spec(first)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if not parts and spec.origin is not None and spec.origin.endswith(".py"):
        return Path(spec.origin)
    places = [Path(folder).joinpath(*parts) for folder in spec.submodule_search_locations or ()]
    files = (one for place in places for one in (place.with_suffix(".py"), place / "__init__.py"))
    return next((one for one in files if one.is_file()), None)


hints_of = cache(typing.get_type_hints)
"""The types of the fields of a class, by name; see `typing.get_type_hints`, which takes a millisecond."""


def convert(option: str, value: object, annotation: object, *, listed: str = "") -> Any:
    """Convert a value to the type of an annotation.

    Args:
        option: its name, for the message.
        value: a string of the command line, or a value from TOML, JSON or Python.
        annotation: a type: `int`, `float`, `bool`, `str`, a `Literal`, a tuple, a mapping, or a union of them.
        listed: what `didact list` calls the choices of a `Literal`, for the message.

    Returns:
        The converted value.

    Raises:
        ConfigError: it cannot be converted; the message states valid values.
    """
    origin = typing.get_origin(annotation)
    if annotation is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _convert_union(option, value, typing.get_args(annotation))
    if origin is Literal:
        return _convert_choice(option, value, typing.get_args(annotation), listed)
    if origin in (tuple, list) or (isinstance(origin, type) and issubclass(origin, Sequence)):
        return _convert_sequence(option, value, origin, typing.get_args(annotation))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if isinstance(value, Mapping):
            return {str(key): item for key, item in value.items()}
        raise ConfigError(f"{option} is {shown(value)}, but must be a table of names and values.")
    if annotation in _PLAIN:
        words, converter = _PLAIN[annotation]
        try:
            return converter(value)
        except (TypeError, ValueError, OverflowError):
            raise ConfigError(f"{option} is {shown(value)}, but must be {words}.") from None
    raise ConfigError(f"{option} is {shown(value)}, but an option of type {annotation} cannot be given in words.")


def parse(path: Path) -> tuple[str, ast.Module]:
    """Read a Python file, and parse it without running it; raise `ConfigError` if that fails."""
    try:
        modified = path.stat().st_mtime_ns
        if path not in _PARSED or _PARSED[path][0] != modified:
            source = path.read_text(encoding="utf-8")
            _PARSED[path] = modified, source, ast.parse(source)
    except (SyntaxError, ValueError, OSError) as error:
        raise ConfigError(f"The file {path} cannot be read as Python: {error}.") from None
    return _PARSED[path][1:]


_PARSED: dict[Path, tuple[int, str, ast.Module]] = {}
"""Parsed files, with their times of modification."""


def _boolean(value: object) -> bool:
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in words:
        return words[value.lower()]
    raise ValueError


def _integer(value: object) -> int:
    if isinstance(value, bool):
        raise TypeError
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            value = float(value)
    if not isinstance(value, SupportsInt) or int(value) != value:
        raise ValueError
    return int(value)


def _number(value: object) -> float:
    if isinstance(value, bool):
        raise TypeError
    if isinstance(value, str | SupportsFloat):
        return float(value)
    raise TypeError


def _text(value: object) -> str:
    if isinstance(value, str | int | Path) and not isinstance(value, bool):
        return str(value)
    raise TypeError


_PLAIN: dict[Any, tuple[str, Any]] = {
    bool: ("true or false", _boolean),
    int: ("a whole number", _integer),
    float: ("a number", _number),
    str: ("a word", _text),
}


def _convert_union(option: str, value: object, members: tuple[object, ...]) -> Any:
    if type(None) in members and (value is None or (isinstance(value, str) and value.lower() == "none")):
        return None
    present = [member for member in members if member is not type(None)]
    failures: list[str] = []
    for member in present:
        try:
            return convert(option, value, member)
        except ConfigError as error:
            failures.append(str(error))
    if len(present) == 1:
        raise ConfigError(failures[0])
    kinds = " or ".join(_PLAIN[m][0] if m in _PLAIN else str(m).replace("typing.", "") for m in present)
    raise ConfigError(f"{option} is {shown(value)}, but must be {kinds}.")


def _convert_choice(option: str, value: object, choices: tuple[object, ...], listed: str) -> Any:
    for choice in choices:
        if value == choice or (isinstance(value, str) and value == str(choice)):
            return choice
    more = f" `didact list {listed}` prints them." if listed else ""
    raise ConfigError(f"{option} is {shown(value)}, which is not known. {nearest(str(value), map(str, choices))}{more}")


def _convert_sequence(option: str, value: object, origin: type, members: tuple[object, ...]) -> Any:
    parts = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
    if not isinstance(parts, Sequence):
        raise ConfigError(f"{option} is {shown(value)}, but must be several values, separated by commas.")
    if origin is tuple and members and members[-1] is not Ellipsis:
        if len(parts) != len(members):
            raise ConfigError(f"{option} is {shown(value)}, but must be {len(members)} values, separated by commas.")
        return tuple(convert(option, item, member) for item, member in zip(parts, members, strict=True))
    items = [convert(option, item, members[0] if members else Any) for item in parts]
    return items if origin is list else tuple(items)
