"""List the public names without a docstring: modules, classes, methods and functions.

`python scripts/check_docstrings.py [FOLDER]` prints one line a name and exits with 1 if there is any. The build of the
documentation calls it, and so does a test. It reads the source and imports nothing.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "src" / "didact"

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def public_modules(package: Path) -> Iterator[tuple[str, Path]]:
    """The dotted names and files of a package's modules, those with a private part in their name left out.

    Args:
        package: the folder of the package.

    Yields:
        Name and path, in alphabetical order of the path; a package comes as its `__init__.py`.
    """
    for path in sorted(package.rglob("*.py")):
        parts = list(path.relative_to(package.parent).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        if not any(part.startswith("_") for part in parts):
            yield ".".join(parts), path


def undocumented(package: Path) -> list[str]:
    """Find the public names that have no docstring.

    Args:
        package: the folder of the package.

    Returns:
        Lines such as `src/didact/types.py:12 didact.types.Batch.view`.
    """
    missing = []
    for name, path in public_modules(package):
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        found = [(1, name)] if ast.get_docstring(tree) is None else []
        found += [(node.lineno, full) for node, full in _definitions(tree, name) if ast.get_docstring(node) is None]
        missing += [f"{path}:{line} {full}" for line, full in found]
    return missing


def _definitions(parent: ast.AST, prefix: str) -> Iterator[tuple[Definition, str]]:
    """The public definitions inside a module or class, under conditions too, but not inside functions."""
    for node in ast.iter_child_nodes(parent):
        if not isinstance(node, Definition):
            yield from _definitions(node, prefix)
        elif not node.name.startswith("_") and not _repeats_a_docstring(node):
            name = f"{prefix}.{node.name}"
            yield node, name
            if isinstance(node, ast.ClassDef):
                yield from _definitions(node, name)


def _repeats_a_docstring(node: Definition) -> bool:
    """Overloads and setters are described where the function or the property is."""
    marks = {ast.unparse(mark).split(".")[-1] for mark in node.decorator_list}
    return bool(marks & {"overload", "setter", "deleter"})


def main() -> int:
    """Check the folder named on the command line, or didact."""
    missing = undocumented(Path(sys.argv[1]) if len(sys.argv) > 1 else PACKAGE)
    for line in missing:
        print(line)
    if missing:
        print(f"Public names without a docstring: {len(missing)}.", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
