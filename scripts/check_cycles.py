"""List the import cycles of the package, those of lazy imports included.

`python scripts/check_cycles.py [FOLDER]` prints one line a cycle and exits with 1 if there is any; `make contracts`
calls it. It reads the source and imports nothing. Every import counts, wherever it stands: at the top of a file, in a
function, under `TYPE_CHECKING`, and as `import_module` with a name of which the beginning is written out. That a
module's package is imported before it doesn't count.
"""

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "src" / "didact"


def modules(package: Path) -> dict[str, Path]:
    """The files of a package by their dotted names.

    Args:
        package: its folder; a package comes as its `__init__.py`.
    """
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(package: Path) -> dict[str, set[str]]:
    """By module, the modules of the package that it imports.

    Args:
        package: its folder.
    """
    found = modules(package)
    trees = {name: ast.parse(path.read_text(encoding="utf-8"), filename=str(path)) for name, path in found.items()}
    known = set(found)
    return {name: {one for one in _imported(name, tree, known) if one != name} for name, tree in trees.items()}


def _imported(name: str, tree: ast.Module, known: set[str]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (one if one in known else node.module for one in inner if node.module in known)
        elif isinstance(node, ast.Call) and "import_module" in (
            getattr(node.func, "id", ""),
            getattr(node.func, "attr", ""),
        ):
            yield from _named(node.args[0], name, tree, known)


def _named(argument: ast.expr, name: str, tree: ast.Module, known: set[str]) -> Iterator[str]:
    """The modules that `import_module` may be meant to import."""
    words = argument.values if isinstance(argument, ast.JoinedStr) else [argument]
    pattern = "".join(_pattern(word, name) for word in words)
    if pattern.startswith("[^"):
        # `import_module(HOMES[name])`: whatever the file itself writes out as a name.
        texts = {
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        yield from sorted(texts & known)
        return
    yield from (one for one in sorted(known) if re.fullmatch(pattern, one))


def _pattern(word: ast.expr, name: str) -> str:
    if isinstance(word, ast.Constant):
        return re.escape(str(word.value))
    value = word.value if isinstance(word, ast.FormattedValue) else word
    return re.escape(name) if ast.unparse(value) == "__name__" else "[^.]+"


def cycles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """The cycles of a graph, one for each set of modules that reach each other.

    Args:
        graph: by module, those that it imports.

    Returns:
        Each as a shortest way from a module back to itself, without the repetition.
    """
    found: list[list[str]] = []
    seen: set[str] = set()
    for start in sorted(graph):
        way = None if start in seen else _way_back(graph, start)
        if way is not None:
            seen.update(_reachable(graph, start) & {one for one in graph if start in _reachable(graph, one)})
            found.append(way)
    return found


def _way_back(graph: Mapping[str, set[str]], start: str) -> list[str] | None:
    """The shortest way from a module back to itself."""
    ways = [[start]]
    reached = set[str]()
    for way in ways:
        for after in sorted(graph.get(way[-1], ())):
            if after == start:
                return way
            if after not in reached:
                reached.add(after)
                ways.append([*way, after])
    return None


def _reachable(graph: Mapping[str, set[str]], start: str) -> set[str]:
    found, left = set[str](), [start]
    while left:
        for after in graph.get(left.pop(), ()):
            if after not in found:
                found.add(after)
                left.append(after)
    return found


def main() -> int:
    """Print the cycles; 1 if there is any."""
    found = cycles(imports(Path(sys.argv[1]) if len(sys.argv) > 1 else PACKAGE))
    for way in found:
        sys.stdout.write(" -> ".join([*way, way[0]]) + "\n")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
